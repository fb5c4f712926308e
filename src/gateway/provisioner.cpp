#include "gateway/provisioner.h"

#include <algorithm>

#include "base/log.h"
#include "model/settings.h"

namespace thaw::gateway {

Provisioner::ByVersion Provisioner::wanted() const {
  ByVersion found;
  for (const auto& [function, setting] : catalog_.settings(control::SettingKind::provisioned_concurrency)) {
    const auto provisioned = model::provisioned_concurrency_from_json(setting.json);
    if (!provisioned.ok()) {
      log::error("provisioned_concurrency_damaged name={} qualifier={} error=\"{}\"", function, setting.qualifier,
                 provisioned.error().message);
      continue;
    }
    const auto version = catalog_.find({function, setting.qualifier}, 1);
    if (version == nullptr || version->version == model::kLatestVersion) continue;
    Wanted& wanted = found[{function, version->version}];
    wanted.version = version;
    wanted.count = std::max(wanted.count, provisioned->executions);
  }
  return found;
}

void Provisioner::follow() {
  const std::lock_guard lock(mutex_);
  ByVersion now = wanted();
  for (const auto& [key, before] : told_) {
    if (!now.contains(key)) pool_.provision(before.version, 0);
  }
  for (const auto& [key, wanted] : now) pool_.provision(wanted.version, wanted.count);
  told_ = std::move(now);
}

pool::ProvisionView Provisioner::view(const model::FunctionRecord& version) const {
  return pool_.provisioned(pool::PoolKeyView(version));
}

}  // namespace thaw::gateway
