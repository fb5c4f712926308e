#include "features/vector_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

namespace thaw::features {
namespace {

const auto kAll = [](std::string_view, const IndexedRow&) { return true; };

std::vector<float> random_vector(std::mt19937& random, std::size_t dimensions) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(dimensions);
  for (float& number : vector) number = normal(random);
  return vector;
}

IndexedRow row_of(std::vector<float> vector, std::int64_t event_ms = 1) {
  return {.value = "", .event_ms = event_ms, .created_ms = 1, .expires_ms = 0, .vector = std::move(vector)};
}

double straightforward(VectorMetric metric, const std::vector<float>& a, const std::vector<float>& b) {
  long double product = 0;
  long double a_square = 0;
  long double b_square = 0;
  long double gap_square = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += static_cast<long double>(a[i]) * b[i];
    a_square += static_cast<long double>(a[i]) * a[i];
    b_square += static_cast<long double>(b[i]) * b[i];
    gap_square += (static_cast<long double>(a[i]) - b[i]) * (static_cast<long double>(a[i]) - b[i]);
  }
  if (metric == VectorMetric::l2) return static_cast<double>(std::sqrt(gap_square));
  if (metric == VectorMetric::inner_product) return static_cast<double>(-product);
  return static_cast<double>(1 - product / std::sqrt(a_square * b_square));
}

std::set<std::string> keys_of(const Neighbours& found) {
  std::set<std::string> keys;
  for (const Neighbour& one : found.nearest) keys.insert(one.key);
  return keys;
}

class VectorIndexTest : public testing::Test {
 protected:
  Neighbours search(VectorIndex& index, const VectorQuery& query,
                    const std::function<bool(std::string_view, const IndexedRow&)>& accepts = kAll) {
    auto found = index.search(query, accepts);
    EXPECT_TRUE(found.ok()) << (found.ok() ? "" : found.error().message);
    return found.ok() ? *std::move(found) : Neighbours();
  }
  // Of 10 neighbours of each of 50 queries.
  double recall(VectorIndex& index, std::mt19937& random, std::size_t dimensions) {
    std::size_t same = 0;
    for (int i = 0; i < 50; ++i) {
      VectorQuery query{.vector = random_vector(random, dimensions), .approximate = false};
      const auto exact = keys_of(search(index, query));
      query.approximate = true;
      const Neighbours found = search(index, query);
      EXPECT_FALSE(found.exact);
      for (const std::string& key : keys_of(found)) same += exact.contains(key) ? 1 : 0;
    }
    return static_cast<double>(same) / 500;
  }

  std::atomic<std::size_t> bytes_{0};
  std::mt19937 random_{7};
};

TEST_F(VectorIndexTest, ExactSearchIsTheStraightforwardComputation) {
  for (const VectorMetric metric : {VectorMetric::cosine, VectorMetric::l2, VectorMetric::inner_product}) {
    VectorIndex index({"v", 7, metric}, bytes_);
    std::map<std::string, std::vector<float>> vectors;
    for (int i = 0; i < 300; ++i) {
      const std::string key = std::to_string(i);
      vectors[key] = random_vector(random_, 7);
      ASSERT_TRUE(index.put(key, row_of(vectors[key])).ok());
    }
    const std::vector<float> query = random_vector(random_, 7);
    std::vector<std::pair<double, std::string>> wanted;
    for (const auto& [key, vector] : vectors) wanted.emplace_back(straightforward(metric, query, vector), key);
    std::sort(wanted.begin(), wanted.end());
    const Neighbours found = search(index, {.vector = query, .top_k = 20});
    ASSERT_TRUE(found.exact);
    ASSERT_EQ(found.nearest.size(), 20U);
    for (std::size_t i = 0; i < 20; ++i) {
      const Neighbour& one = found.nearest[i];
      EXPECT_EQ(one.key, wanted[i].second);
      EXPECT_NEAR(one.distance, wanted[i].first, 1e-9);
      const double score = metric == VectorMetric::cosine ? 1 - wanted[i].first
                           : metric == VectorMetric::l2   ? 1 / (1 + wanted[i].first)
                                                          : -wanted[i].first;
      EXPECT_NEAR(one.score, score, 1e-9);
    }
  }
  EXPECT_EQ(bytes_.load(), 0U);
}

TEST_F(VectorIndexTest, TheGraphFindsNearlyAllOfTheNearest) {
  for (const VectorMetric metric : {VectorMetric::cosine, VectorMetric::l2, VectorMetric::inner_product}) {
    VectorIndex index({"v", 32, metric}, bytes_);
    for (int i = 0; i < 5000; ++i) ASSERT_TRUE(index.put(std::to_string(i), row_of(random_vector(random_, 32))).ok());
    EXPECT_GE(recall(index, random_, 32), 0.95) << static_cast<int>(metric);
  }
}

TEST_F(VectorIndexTest, UpdatesAndRemovalsReachTheGraph) {
  VectorIndex index({"v", 16, VectorMetric::l2}, bytes_);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(index.put(std::to_string(i), row_of(random_vector(random_, 16))).ok());
  (void)search(index, {.vector = random_vector(random_, 16), .approximate = true});
  // A third gets other vectors, a third has none any more, and there are new ones.
  for (int i = 0; i < 2000; i += 3) {
    ASSERT_TRUE(index.put(std::to_string(i), row_of(random_vector(random_, 16), 2)).ok());
    ASSERT_TRUE(index.put(std::to_string(i + 1), row_of({}, 2)).ok());
    ASSERT_TRUE(index.put("new " + std::to_string(i), row_of(random_vector(random_, 16))).ok());
  }
  EXPECT_GE(recall(index, random_, 16), 0.95);
  const Neighbours all = search(index, {.vector = random_vector(random_, 16), .top_k = 1000, .approximate = true});
  for (const Neighbour& one : all.nearest) EXPECT_FALSE(one.row.vector.empty());
  // What had none gets one again, and is the nearest to itself.
  ASSERT_TRUE(index.put("1", row_of(std::vector<float>(16, 9.0F), 3)).ok());
  const Neighbours again = search(index, {.vector = std::vector<float>(16, 9.0F), .top_k = 1, .approximate = true});
  ASSERT_EQ(again.nearest.size(), 1U);
  EXPECT_EQ(again.nearest[0].key, "1");
  EXPECT_EQ(again.nearest[0].distance, 0.0);
}

TEST_F(VectorIndexTest, AnOlderRowDoesNotReplaceALaterOne) {
  VectorIndex index({"v", 2, VectorMetric::l2}, bytes_);
  ASSERT_TRUE(index.put("a", row_of({1, 1}, 5)).ok());
  ASSERT_TRUE(index.put("a", row_of({2, 2}, 4)).ok());
  EXPECT_EQ(index.find("a")->vector, (std::vector<float>{1, 1}));
  ASSERT_TRUE(index.put("a", row_of({}, 6)).ok());
  EXPECT_TRUE(search(index, {.vector = {1, 1}}).nearest.empty());
  EXPECT_FALSE(index.find("b"));
}

TEST_F(VectorIndexTest, AFilterThatLeavesTheGraphTooFewIsSearchedExactly) {
  VectorIndex index({"v", 8, VectorMetric::cosine}, bytes_);
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(index.put(std::to_string(i), row_of(random_vector(random_, 8))).ok());
  const auto few = [](std::string_view key, const IndexedRow&) { return key.ends_with("77"); };
  VectorQuery query{.vector = random_vector(random_, 8), .top_k = 20, .approximate = true, .effort = 20};
  const Neighbours found = search(index, query, few);
  EXPECT_TRUE(found.exact);
  query.approximate = false;
  EXPECT_EQ(keys_of(found), keys_of(search(index, query, few)));
  EXPECT_EQ(found.nearest.size(), 20U);
  query.approximate = true;
  query.effort = 500;
  const auto half = [](std::string_view key, const IndexedRow&) { return key.back() % 2 == 0; };
  const Neighbours many = search(index, query, half);
  EXPECT_FALSE(many.exact);
  ASSERT_EQ(many.nearest.size(), 20U);
  for (const Neighbour& one : many.nearest) EXPECT_TRUE(half(one.key, one.row));
}

TEST_F(VectorIndexTest, AVectorWithoutLengthHasNoDirection) {
  VectorIndex index({"v", 2, VectorMetric::cosine}, bytes_);
  ASSERT_TRUE(index.put("zero", row_of({0, 0})).ok());
  ASSERT_TRUE(index.put("same", row_of({2, 0})).ok());
  const Neighbours found = search(index, {.vector = {1, 0}, .approximate = false});
  ASSERT_EQ(found.nearest.size(), 2U);
  EXPECT_EQ(found.nearest[0].key, "same");
  EXPECT_EQ(found.nearest[1].score, 0.0);
}

TEST_F(VectorIndexTest, BytesAreBounded) {
  bytes_ = kIndexedBytesMax - 700;
  VectorIndex index({"v", 2, VectorMetric::l2}, bytes_);
  ASSERT_TRUE(index.put("a", row_of({1, 1})).ok());
  const Status full = index.put("b", row_of({1, 1}));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().kind, ErrorKind::too_large);
}

}  // namespace
}  // namespace thaw::features
