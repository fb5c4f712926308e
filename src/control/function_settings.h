// Settings of functions as the values that they are (model/settings.h), out of the catalog's documents.
//
// Threads: any; they answer from memory. Errors: corrupt, for a stored document that is damaged.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "control/catalog.h"
#include "model/settings.h"
#include "model/tags.h"

namespace thaw::control {

// The qualifier under which settings are kept: of $LATEST, and of the function as a whole, the empty one.
std::string_view setting_qualifier(std::string_view qualifier);

// Nothing when there is none.
Result<std::optional<model::FunctionUrlConfig>> function_url(const Catalog& catalog, model::QualifiedName name);
Result<std::optional<model::ReservedConcurrency>> reserved_concurrency(const Catalog& catalog,
                                                                       std::string_view function);
Result<std::optional<model::EventInvokeConfig>> event_invoke(const Catalog& catalog, model::QualifiedName name);
// Empty where there are none.
Result<model::Tags> tags(const Catalog& catalog, std::string_view function);

}  // namespace thaw::control
