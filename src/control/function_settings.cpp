#include "control/function_settings.h"

namespace thaw::control {
namespace {

template <class Value>
Result<std::optional<Value>> read(const Catalog& catalog, SettingKind kind, model::QualifiedName name,
                                  Result<Value> (*from_json)(std::string_view)) {
  const auto text = catalog.setting(name.function, kind, setting_qualifier(name.qualifier));
  if (text == nullptr) return std::optional<Value>();
  ASSIGN_OR_RETURN(Value value, from_json(*text));
  return std::optional<Value>(std::move(value));
}

}  // namespace

std::string_view setting_qualifier(std::string_view qualifier) {
  return qualifier == model::kLatestVersion ? std::string_view() : qualifier;
}

Result<std::optional<model::FunctionUrlConfig>> function_url(const Catalog& catalog, model::QualifiedName name) {
  return read<model::FunctionUrlConfig>(catalog, SettingKind::function_url, name, model::function_url_from_json);
}

Result<std::optional<model::ReservedConcurrency>> reserved_concurrency(const Catalog& catalog,
                                                                       std::string_view function) {
  return read<model::ReservedConcurrency>(catalog, SettingKind::reserved_concurrency, {function, {}},
                                          model::reserved_concurrency_from_json);
}

Result<std::optional<model::EventInvokeConfig>> event_invoke(const Catalog& catalog, model::QualifiedName name) {
  return read<model::EventInvokeConfig>(catalog, SettingKind::event_invoke, name, model::event_invoke_from_json);
}

Result<model::Tags> tags(const Catalog& catalog, std::string_view function) {
  ASSIGN_OR_RETURN(auto found, read<model::Tags>(catalog, SettingKind::tags, {function, {}}, model::tags_from_json));
  return std::move(found).value_or(model::Tags());
}

}  // namespace thaw::control
