#include "adapters/s3/signature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thaw::adapters {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

// The examples of "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
const Credentials kCredentials{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr const char* kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kTime = "20130524T000000Z";

std::string signature_of(const Fields& fields) {
  for (const auto& [name, value] : fields) {
    if (name == "authorization") return value.substr(value.find("Signature=") + 10);
  }
  return "";
}

UnsignedRequest example(Fields query, Fields fields, std::string path = "/") {
  return {"GET", "examplebucket.s3.amazonaws.com", std::move(path), std::move(query), std::move(fields), kEmptySha256};
}

TEST(Signature, MatchesAmazonsGetObjectExample) {
  const auto fields = sign(example({}, {{"range", "bytes=0-9"}}, "/test.txt"), kCredentials, "us-east-1", kTime);
  EXPECT_EQ(signature_of(fields), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(Signature, MatchesAmazonsPutObjectExample) {
  UnsignedRequest request{"PUT",
                          "examplebucket.s3.amazonaws.com",
                          "/test%24file.text",
                          {},
                          {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                          "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"};
  EXPECT_EQ(signature_of(sign(request, kCredentials, "us-east-1", kTime)),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(Signature, MatchesAmazonsSubresourceExample) {
  EXPECT_EQ(signature_of(sign(example({{"lifecycle", ""}}, {}), kCredentials, "us-east-1", kTime)),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(Signature, MatchesAmazonsListExampleWhateverTheOrder) {
  for (const Fields& query : {Fields{{"max-keys", "2"}, {"prefix", "J"}}, Fields{{"prefix", "J"}, {"max-keys", "2"}}})
    EXPECT_EQ(signature_of(sign(example(query, {}), kCredentials, "us-east-1", kTime)),
              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(Signature, TheSessionTokenIsSentAndSigned) {
  Credentials credentials = kCredentials;
  credentials.session_token = "token/with+signs==";
  const auto fields = sign(example({}, {}), credentials, "us-east-1", kTime);
  EXPECT_THAT(fields, testing::Contains(testing::Pair("x-amz-security-token", "token/with+signs==")));
  EXPECT_THAT(fields, testing::Contains(testing::Pair("authorization", testing::HasSubstr("x-amz-security-token"))));
}

TEST(Signature, QueriesAreEncodedAsSigned) {
  EXPECT_EQ(canonical_query({{"prefix", "a b/ü+&="}, {"list-type", "2"}}),
            "list-type=2&prefix=a%20b%2F%C3%BC%2B%26%3D");
}

}  // namespace
}  // namespace thaw::adapters
