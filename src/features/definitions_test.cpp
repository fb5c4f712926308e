#include "features/definitions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/folder_for_test.h"
#include "features/registry.h"

namespace thaw::features {
namespace {

using model::FeatureScalar;
using testing::HasSubstr;

constexpr const char* kToml = R"toml(
[[feature_view]]
name = "driver_hourly_stats"
description = "what a driver did"
entities = [{name = "driver_id", type = "int64"}]
ttl_s = 3600
features = [
  {name = "conv_rate", type = "float32"},
  {name = "trips", type = "Int64", description = "of a day"},
  {name = "embedding", type = "array(float32)"},
]
[feature_view.source]
kind = "postgres"
url = "postgresql://me@db/shop"
table = "stats"
timestamp_field = "event_time"
created_timestamp_field = "created"
timestamp_unit = "ms"
field_mapping = {rate = "conv_rate"}
[feature_view.vector]
feature = "embedding"
dimensions = 3
metric = "l2"

[[feature_view]]
name = "orders"
entities = [{name = "zone", type = "string"}, {name = "driver_id", type = "int64"}]
features = [{name = "count", type = "unix_timestamp"}]

[[feature_service]]
name = "ranking"
features = ["driver_hourly_stats:conv_rate", "orders:count"]

[[push_source]]
name = "driver_push"
view = "driver_hourly_stats"
)toml";

std::string error_of(const std::string& toml) {
  const auto read = parse_definitions_toml(toml);
  if (!read.ok()) return read.error().message;
  const Status checked = check_references(*read);
  return checked.ok() ? "(none)" : checked.error().message;
}

std::string view(const std::string& rest) { return "[[feature_view]]\nname = \"v\"\n" + rest; }

TEST(Definitions, AFileHasViewsServicesAndPushSources) {
  const auto read = parse_definitions_toml(kToml);
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_TRUE(check_references(*read).ok());
  const FeatureView& stats = read->views.at("driver_hourly_stats");
  EXPECT_EQ(stats.ttl_s, 3600U);
  EXPECT_TRUE(stats.online);
  ASSERT_EQ(stats.features.size(), 3U);
  EXPECT_EQ(stats.features[0].type, (model::FeatureType{FeatureScalar::float32, false}));
  EXPECT_EQ(stats.features[2].type, (model::FeatureType{FeatureScalar::float32, true}));
  EXPECT_EQ(stats.source->kind, SourceKind::postgres);
  EXPECT_EQ(stats.source->timestamp_field, "event_time");
  EXPECT_EQ(stats.source->timestamp_unit_us, 1000);
  EXPECT_EQ(column_of(*stats.source, "conv_rate"), "rate");
  EXPECT_EQ(column_of(*stats.source, "trips"), "trips");
  EXPECT_EQ(stats.vector->metric, VectorMetric::l2);
  EXPECT_EQ(read->views.at("orders").entities[0].name, "driver_id");
  EXPECT_EQ(read->services.at("ranking").features[1], (FeatureReference{"orders", "count"}));
  EXPECT_EQ(read->push_sources.at("driver_push").view, "driver_hourly_stats");
}

TEST(Definitions, WhatIsWrittenIsReadAgain) {
  const auto read = parse_definitions_toml(kToml);
  ASSERT_TRUE(read.ok());
  const auto again = definitions_from_json(to_json(*read));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, *read);
}

TEST(Definitions, TypesAreFeastsInAnyCase) {
  for (const char* name : {"Bool", "Int32", "Int64", "Float32", "Float64", "String", "Bytes", "UnixTimestamp",
                           "Array(Int64)", "Array(UnixTimestamp)"}) {
    const auto type = parse_type(name);
    ASSERT_TRUE(type) << name;
    EXPECT_EQ(type_name(*type), name);
  }
  EXPECT_EQ(parse_type("unix_timestamp"), parse_type("UnixTimestamp"));
  EXPECT_EQ(parse_type("ARRAY(STRING)"), parse_type("Array(String)"));
  for (const char* name : {"", "int", "Array()", "Array(Array(Int64))", "Array(Int64", "Int64)"})
    EXPECT_FALSE(parse_type(name)) << name;
}

TEST(Definitions, ErrorsNameTheDefinitionTheFieldAndTheLimit) {
  const std::string id = "entities = [{name = \"id\", type = \"int64\"}]\n";
  const std::string one = "features = [{name = \"f\", type = \"int64\"}]\n";
  EXPECT_THAT(error_of("x = 1"), HasSubstr("unknown field 'x'"));
  EXPECT_THAT(error_of("[[feature_view]]\nname = \"a b\"\n"),
              HasSubstr("feature_view 'a b': name: must have 1 to 128"));
  EXPECT_THAT(error_of(view(id)), HasSubstr("feature_view 'v': features: must be an array of 1 to 4096"));
  EXPECT_THAT(error_of(view(one)), HasSubstr("feature_view 'v': entities: must be an array of 1 to 8"));
  EXPECT_THAT(error_of(view(id + one + "ttl = 3\n")), HasSubstr("unknown field 'ttl'"));
  EXPECT_THAT(error_of(view(id + one + "ttl_s = -1\n")), HasSubstr("ttl_s: must be a whole number from 0"));
  EXPECT_THAT(error_of(view(id + one + "online = 1\n")), HasSubstr("online: must be true or false"));
  EXPECT_THAT(error_of(view(id + "features = [{name = \"f\", type = \"int\"}]\n")),
              HasSubstr("features[0]: type: 'int' is none of Bool"));
  EXPECT_THAT(error_of(view(id + "features = [{name = \"id\", type = \"int64\"}]\n")), HasSubstr("features[0]: name"));
  EXPECT_THAT(error_of(view("entities = [{name = \"id\", type = \"float64\"}]\n" + one)),
              HasSubstr("Float64 is not possible for an entity"));
  EXPECT_THAT(error_of(view(id + one) + "[feature_view.vector]\nfeature = \"f\"\ndimensions = 3\n"),
              HasSubstr("vector: feature: must name a feature of the view of type Array(Float32)"));
  const std::string source = view(id + one) + "[feature_view.source]\n";
  EXPECT_THAT(error_of(source), HasSubstr("feature_view 'v': source.kind is missing"));
  EXPECT_THAT(error_of(source + "kind = \"parquet\"\n"), HasSubstr("source.kind must be csv, sqlite or postgres"));
  EXPECT_THAT(error_of(source + "kind = \"csv\"\n"), HasSubstr("source.path is missing"));
  EXPECT_THAT(error_of(source + "kind = \"csv\"\npath = \"a\"\ntable = \"t\"\n"), HasSubstr("this source is csv"));
  EXPECT_THAT(error_of(source + "kind = \"sqlite\"\npath = \"a\"\n"), HasSubstr("source.table or source.query"));
  EXPECT_THAT(error_of(source + "kind = \"postgres\"\ntable = \"t\"\n"), HasSubstr("source.url is missing"));
  EXPECT_THAT(error_of(source + "kind = \"csv\"\npath = 3\n"), HasSubstr("source.path must be a string"));
  EXPECT_THAT(error_of(source + "kind = \"csv\"\npath = \"a\"\ncreated = \"b\"\n"),
              HasSubstr("source.created is not known"));
  EXPECT_THAT(error_of(view(id + one) + view(id + one)), HasSubstr("it is there twice"));
  EXPECT_THAT(error_of("[[feature_service]]\nname = \"s\"\nfeatures = [\"f\"]\n"), HasSubstr("must be VIEW:FEATURE"));
  EXPECT_THAT(error_of("[[feature_service]]\nname = \"s\"\nfeatures = [\"v:f\"]\n"),
              HasSubstr("there is no feature view 'v'"));
  EXPECT_THAT(error_of(view(id + one) + "[[feature_service]]\nname = \"s\"\nfeatures = [\"v:g\"]\n"),
              HasSubstr("has no feature 'g'"));
  EXPECT_THAT(error_of("[[push_source]]\nname = \"p\"\nview = \"v\"\n"),
              HasSubstr("push_source 'p': view: there is no"));
  EXPECT_THAT(error_of("a = 1979-05-27\n"), HasSubstr("dates and times"));
  EXPECT_THAT(error_of("a = \n"), HasSubstr("line 1"));
  EXPECT_THAT(error_of(std::string(100'000, '.') + "a = 1"), HasSubstr("dots"));
}

TEST(Registry, KeepsTheDefinitionsAndNamesDamage) {
  const FolderForTest folder;
  const std::string path = folder.at("registry.json");
  EXPECT_EQ(*load_registry(path), Definitions());
  const auto definitions = parse_definitions_toml(kToml);
  ASSERT_TRUE(definitions.ok());
  ASSERT_TRUE(save_registry(path, *definitions).ok());
  const auto loaded = load_registry(path);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(*loaded, *definitions);
  const std::string whole = read_for_test(path);
  for (const std::string& damage :
       {whole.substr(0, whole.size() / 2), std::string("{}"), std::string("{\"v\":2}"), std::string()}) {
    write_for_test(path, damage);
    const auto refused = load_registry(path);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().kind, ErrorKind::corrupt);
    EXPECT_THAT(refused.error().message, HasSubstr("registry.json"));
  }
  std::string flipped = whole;
  flipped.replace(flipped.find("conv_rate"), 4, "cash");
  write_for_test(path, flipped);
  EXPECT_THAT(load_registry(path).error().message, HasSubstr("sha256"));
}

}  // namespace
}  // namespace thaw::features
