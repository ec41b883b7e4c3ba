// SPDX-License-Identifier: Apache-2.0
// Configurations: what is taken, and in which words the rest is refused.
#include <gtest/gtest.h>

#include <ringfall/ringfall.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

// A copy that ends where the text ends, so that AddressSanitizer sees a look beyond it.
struct Parsed {
  int status;
  rf_config config;
  std::string message;
};

Parsed Parse(const std::string &text) {
  std::unique_ptr<char[]> exact(new char[text.size()]);
  text.copy(exact.get(), text.size());
  char message[RF_CONFIG_MESSAGE] = "untouched";
  Parsed parsed = {};
  parsed.status =
      rf_config_parse(exact.get(), text.size(), &parsed.config, message, sizeof(message));
  parsed.message = message;
  return parsed;
}

// The message, or what it became if it is not one line with -EINVAL.
std::string Refusal(const std::string &text) {
  const Parsed parsed = Parse(text);
  if (parsed.status != -EINVAL) return "status " + std::to_string(parsed.status);
  if (parsed.message.empty()) return "no message";
  for (const char c : parsed.message)
    if (static_cast<unsigned char>(c) < ' ') return "control characters in " + parsed.message;
  return parsed.message;
}

// With one key in "read", on line 3.
std::string OfRead(const std::string &key) {
  return Refusal("{\n  \"version\": 1, \"read\": {\n    " + key + "\n  }\n}");
}

const char kWhole[] = R"({
  "version": 1,
  "note": "made by hand: \"caf\u00e9\" \ud83d\ude00 \\",
  "read": {
    "backend": "libaio",
    "block_size": 2097152,
    "queue_depth": 7,
    "workers": 3,
    "single_submit": true,
    "overlap_events": false,
    "bounce_limit": 8388608,
    "lock_bounce": true
  },
  "write": {"backend": "threads", "workers": 5}
}
)";

// ---- what is taken ----

TEST(Config, TakesEveryKey) {
  const Parsed parsed = Parse(kWhole);
  ASSERT_EQ(parsed.status, 0) << parsed.message;
  const rf_config_direction &read = parsed.config.read;
  EXPECT_TRUE(read.given);
  EXPECT_EQ(read.engine.choice, RF_CHOICE_PREFER);
  EXPECT_EQ(read.engine.backend, RF_BACKEND_LIBAIO);
  EXPECT_EQ(read.engine.depth, 7u);
  EXPECT_EQ(read.pool.block_size, 2097152u);
  EXPECT_EQ(read.pool.queue_depth, 7u);
  EXPECT_EQ(read.pool.workers, 3u);
  EXPECT_TRUE(read.pool.single_submit);
  EXPECT_FALSE(read.pool.overlap_events);
  EXPECT_EQ(read.pool.bounce_limit, 8388608u);
  EXPECT_TRUE(read.pool.lock_bounce);
  EXPECT_EQ(parsed.config.write.engine.backend, RF_BACKEND_THREADS);
  EXPECT_EQ(parsed.config.write.pool.workers, 5u);
}

TEST(Config, HasTheDefaultsForWhatIsLeftOut) {
  const Parsed parsed = Parse("{\"version\":1,\"write\":{}}");
  ASSERT_EQ(parsed.status, 0) << parsed.message;
  rf_pool_options usual;
  rf_pool_options_init(&usual);
  EXPECT_FALSE(parsed.config.read.given);
  EXPECT_TRUE(parsed.config.write.given);
  for (const rf_config_direction *direction : {&parsed.config.read, &parsed.config.write}) {
    EXPECT_EQ(direction->engine.choice, RF_CHOICE_AUTO);
    EXPECT_EQ(direction->pool.size, usual.size);
    EXPECT_EQ(direction->pool.block_size, usual.block_size);
    EXPECT_EQ(direction->pool.queue_depth, usual.queue_depth);
    EXPECT_EQ(direction->pool.workers, usual.workers);
    EXPECT_EQ(direction->pool.single_submit, usual.single_submit);
    EXPECT_EQ(direction->pool.overlap_events, usual.overlap_events);
    EXPECT_EQ(direction->pool.bounce_limit, usual.bounce_limit);
    EXPECT_EQ(direction->pool.lock_bounce, usual.lock_bounce);
  }
}

TEST(Config, TakesTheEndsOfEveryRange) {
  const Parsed least = Parse("{\"version\":1,\"read\":{\"block_size\":512,\"queue_depth\":1,"
                             "\"workers\":1,\"bounce_limit\":65536}}");
  const Parsed most = Parse("{\"version\":1,\"read\":{\"block_size\":1073741824,"
                            "\"queue_depth\":4096,\"workers\":64,\"bounce_limit\":1073741824}}");
  EXPECT_EQ(least.status, 0) << least.message;
  EXPECT_EQ(most.status, 0) << most.message;
  EXPECT_EQ(most.config.read.pool.bounce_limit, 1073741824u);
}

TEST(Config, ReadsKeysAndNamesThroughTheirEscapes) {
  const Parsed parsed =
      Parse("\t{\r\n\"version\":1,\"\\u0072ead\":{\"backend\":\"\\u006cibaio\"}}  ");
  ASSERT_EQ(parsed.status, 0) << parsed.message;
  EXPECT_EQ(parsed.config.read.engine.backend, RF_BACKEND_LIBAIO);
}

TEST(Config, OpensAnEngineAndAPool) {
  Parsed parsed = Parse("{\"version\":1,\"read\":{\"backend\":\"threads\",\"workers\":1}}");
  ASSERT_EQ(parsed.status, 0) << parsed.message;
  parsed.config.read.engine.ignore_environment = true;
  rf_engine *engine;
  rf_pool *pool;
  ASSERT_EQ(rf_engine_open(&engine, &parsed.config.read.engine), 0);
  EXPECT_EQ(rf_engine_host(engine)->selected, RF_BACKEND_THREADS);
  ASSERT_EQ(rf_pool_open(engine, &parsed.config.read.pool, &pool), 0);
  EXPECT_EQ(rf_pool_close(pool, RF_POOL_DRAIN), 0);
  EXPECT_EQ(rf_engine_close(engine), 0);
}

// ---- what is refused, word by word ----

TEST(ConfigRefuses, AKeyThatItDoesNotKnow) {
  EXPECT_EQ(OfRead("\"colour\": 1"), "line 3: read.colour: no such key");
  EXPECT_EQ(OfRead("\"Workers\": 1"), "line 3: read.Workers: no such key");
  EXPECT_EQ(OfRead("\"version\": 1"), "line 3: read.version: no such key");
  EXPECT_EQ(OfRead("\"a\\nb\\u007f\": 1"), "line 3: read.a?b?: no such key");
  EXPECT_EQ(Refusal("{\"aio\": {}}"), "line 1: aio: no such key");
  EXPECT_EQ(Refusal("{\"\": {}}"), "line 1: no such key");
  EXPECT_EQ(Refusal("{\"" + std::string(500, 'k') + "\": {}}"),
            "line 1: " + std::string(31, 'k') + ": no such key");
}

TEST(ConfigRefuses, AKeyThatIsGivenTwice) {
  EXPECT_EQ(OfRead("\"workers\": 2, \"workers\": 2"), "line 3: read.workers: is given twice");
  EXPECT_EQ(OfRead("\"workers\": 2, \"\\u0077orkers\": 2"), "line 3: read.workers: is given twice");
  EXPECT_EQ(Refusal("{\"version\":1,\n\"version\":1}"), "line 2: version: is given twice");
  EXPECT_EQ(Refusal("{\"read\":{},\"read\":{}}"), "line 1: read: is given twice");
}

TEST(ConfigRefuses, ValuesOfAnotherType) {
  const std::string depth = "line 3: read.queue_depth: must be a whole number, not ";
  const std::string range = "line 3: read.queue_depth: must be a whole number from 1 to 4096";
  EXPECT_EQ(OfRead("\"queue_depth\": \"16\""), depth + "a string");
  EXPECT_EQ(OfRead("\"queue_depth\": true"), depth + "a boolean");
  EXPECT_EQ(OfRead("\"queue_depth\": null"), depth + "null");
  EXPECT_EQ(OfRead("\"queue_depth\": [16]"), depth + "a list");
  EXPECT_EQ(OfRead("\"queue_depth\": {}"), depth + "an object");
  EXPECT_EQ(OfRead("\"queue_depth\": 16.0"), range);
  EXPECT_EQ(OfRead("\"queue_depth\": 1e1"), range);
  EXPECT_EQ(OfRead("\"queue_depth\": 016"), range);
  EXPECT_EQ(OfRead("\"queue_depth\": +16"), depth + "what is here");
  EXPECT_EQ(OfRead("\"single_submit\": \"true\""),
            "line 3: read.single_submit: must be true or false, not a string");
  EXPECT_EQ(OfRead("\"overlap_events\": 1"),
            "line 3: read.overlap_events: must be true or false, not a number");
  EXPECT_EQ(OfRead("\"backend\": 1"), "line 3: read.backend: must be a string, not a number");
  EXPECT_EQ(Refusal("{\"note\": 1}"), "line 1: note: must be a string, not a number");
  EXPECT_EQ(Refusal("{\"read\": []}"), "line 1: read: must be an object, not a list");
  EXPECT_EQ(Refusal("[]"), "line 1: must be an object, not a list");
  EXPECT_EQ(Refusal(""), "line 1: must be an object, not the end of the text");
  EXPECT_EQ(Refusal("\xef\xbb\xbf{}"), "line 1: must be an object, not what is here");
}

TEST(ConfigRefuses, ValuesOutOfRange) {
  EXPECT_EQ(OfRead("\"queue_depth\": 0"),
            "line 3: read.queue_depth: must be a whole number from 1 to 4096");
  EXPECT_EQ(OfRead("\"queue_depth\": 4097"),
            "line 3: read.queue_depth: must be a whole number from 1 to 4096");
  EXPECT_EQ(OfRead("\"queue_depth\": 18446744073709551617"),
            "line 3: read.queue_depth: must be a whole number from 1 to 4096");
  EXPECT_EQ(OfRead("\"workers\": 65"), "line 3: read.workers: must be a whole number from 1 to 64");
  EXPECT_EQ(OfRead("\"workers\": -1"), "line 3: read.workers: must be a whole number from 1 to 64");
  EXPECT_EQ(OfRead("\"block_size\": 511"),
            "line 3: read.block_size: must be a whole number from 512 to 1073741824");
  EXPECT_EQ(OfRead("\"block_size\": 1073741825"),
            "line 3: read.block_size: must be a whole number from 512 to 1073741824");
  EXPECT_EQ(OfRead("\"bounce_limit\": 65535"),
            "line 3: read.bounce_limit: must be a whole number from 65536 to 1073741824");
  EXPECT_EQ(OfRead("\"backend\": \"spdk\""),
            "line 3: read.backend: 'spdk' is not io_uring, libaio, threads or auto");
  EXPECT_EQ(OfRead("\"backend\": \"a\\tb\""),
            "line 3: read.backend: 'a?b' is not io_uring, libaio, threads or auto");
  EXPECT_EQ(Refusal("{\"version\": 2}"),
            "line 1: version: must be 1, the only one that is known here");
}

TEST(ConfigRefuses, AMissingVersion) {
  EXPECT_EQ(Refusal("{}"), "line 1: the key \"version\" is missing");
  EXPECT_EQ(Refusal("{\"read\": {}}\n"), "line 2: the key \"version\" is missing");
}

TEST(ConfigRefuses, WhatIsNoJson) {
  EXPECT_EQ(Refusal("{\"version\": 1} x"), "line 1: more text after the closing brace");
  EXPECT_EQ(Refusal("{\"version\": 1}\n{\"version\": 1}"),
            "line 2: more text after the closing brace");
  EXPECT_EQ(Refusal(std::string("{\"version\": 1}\0", 15)),
            "line 1: more text after the closing brace");
  EXPECT_EQ(Refusal("{\"version\": 1,}"), "line 1: a key in quotes must follow, not what is here");
  EXPECT_EQ(Refusal("{version: 1}"), "line 1: a key in quotes must follow, not what is here");
  EXPECT_EQ(Refusal("{\"version\" 1}"), "line 1: version: a colon must follow the key");
  EXPECT_EQ(Refusal("{\"version\": 1 \"note\": \"\"}"),
            "line 1: a comma or a closing brace must follow, not a string");
  EXPECT_EQ(OfRead("\"single_submit\": trueish"),
            "line 3: read: a comma or a closing brace must follow, not what is here");
  EXPECT_EQ(Refusal("{\"version\": 1, // one\n}"),
            "line 1: a key in quotes must follow, not what is here");
}

TEST(ConfigRefuses, StringsThatAreNotWellFormed) {
  const auto note = [](const std::string &text) { return Refusal("{\"note\": \"" + text + "\"}"); };
  const std::string utf8 = "line 1: note: a string that is not UTF-8";
  const std::string escape = "line 1: note: a string with an escape that is not valid";
  EXPECT_EQ(note("\xff"), utf8);
  EXPECT_EQ(note("\xc0\x80"), utf8);         // overlong
  EXPECT_EQ(note("\xe0\x9f\xbf"), utf8);     // overlong
  EXPECT_EQ(note("\xf0\x8f\xbf\xbf"), utf8); // overlong
  EXPECT_EQ(note("\xed\xa0\x80"), utf8);     // a surrogate
  EXPECT_EQ(note("\xf4\x90\x80\x80"), utf8); // above U+10FFFF
  EXPECT_EQ(note("\xe2\x82"), utf8);         // cut off by the quote
  EXPECT_EQ(note("a\nb"), "line 1: note: a control character in a string");
  EXPECT_EQ(note("\\x41"), escape);
  EXPECT_EQ(note("\\u12g4"), escape);
  EXPECT_EQ(note("\\u0000"), escape);
  EXPECT_EQ(note("\\ud800"), escape);        // half of a pair
  EXPECT_EQ(note("\\ud800\\u0041"), escape); // its other half is none
  EXPECT_EQ(note("\\udc00"), escape);        // only the second half
  EXPECT_EQ(Refusal("{\"note\": \"abc"), "line 1: note: a string that does not end");
}

TEST(ConfigRefuses, MoreThanItsLimit) {
  std::string text = "{\"version\": 1}";
  text.resize(RF_CONFIG_MOST, ' ');
  EXPECT_EQ(Parse(text).status, 0);
  EXPECT_EQ(Refusal(text + ' '), "line 1: more than 65536 bytes");
}

TEST(ConfigRefuses, AndLeavesTheConfigAlone) {
  rf_config config, before;
  memset(&config, 0x5a, sizeof(config));
  before = config;
  EXPECT_EQ(rf_config_parse("{\"version\": 1", 13, &config, nullptr, 0), -EINVAL);
  EXPECT_EQ(memcmp(&config, &before, sizeof(config)), 0);
}

TEST(ConfigRefuses, WithAMessageThatFitsItsRoom) {
  for (size_t room = 1; room < 64; room++) {
    std::vector<char> message(room + 1, 'm');
    rf_config config;
    EXPECT_EQ(rf_config_parse("{\"colour\": 1}", 13, &config, message.data(), room), -EINVAL);
    EXPECT_EQ(std::string(message.data()),
              std::string("line 1: colour: no such key").substr(0, room - 1));
    EXPECT_EQ(message[room], 'm');
  }
}

// ---- damaged files ----

// No damage may crash it; what it takes must hold only what a pool takes, and what it refuses must
// say why in one line.
void ExpectSane(const std::string &text) {
  const Parsed parsed = Parse(text);
  if (parsed.status == 0) {
    for (const rf_config_direction *direction : {&parsed.config.read, &parsed.config.write}) {
      const rf_pool_options &pool = direction->pool;
      EXPECT_TRUE(pool.workers >= 1 && pool.workers <= RF_POOL_WORKERS_MAX &&
                  pool.queue_depth >= 1 && pool.queue_depth <= RF_POOL_DEPTH_MAX &&
                  pool.block_size >= RF_POOL_BLOCK_MIN && pool.block_size <= RF_POOL_BLOCK_MAX &&
                  pool.bounce_limit >= RF_POOL_BOUNCE_MIN &&
                  pool.bounce_limit <= RF_POOL_BOUNCE_MAX &&
                  static_cast<unsigned>(direction->engine.backend) < RF_BACKENDS)
          << text;
    }
    return;
  }
  EXPECT_EQ(Refusal(text).compare(0, 5, "line "), 0) << Refusal(text) << " of\n" << text;
}

TEST(ConfigDamage, EveryTruncationIsRefused) {
  const std::string whole = kWhole;
  const size_t brace = whole.rfind('}');
  for (size_t length = 0; length <= brace; length++) {
    ExpectSane(whole.substr(0, length));
    EXPECT_EQ(Parse(whole.substr(0, length)).status, -EINVAL) << whole.substr(0, length);
  }
}

TEST(ConfigDamage, EveryByteMayBeAnyOther) {
  std::string text = kWhole;
  unsigned refused = 0, taken = 0;
  for (size_t at = 0; at < text.size(); at++) {
    const char right = text[at];
    for (int byte = 0; byte < 256; byte++) {
      text[at] = static_cast<char>(byte);
      ExpectSane(text);
      (Parse(text).status == 0 ? taken : refused)++;
    }
    text[at] = right;
  }
  EXPECT_GT(taken, text.size()); // the right byte is among them, and digits and notes may change
  EXPECT_GT(refused, taken);
}

TEST(ConfigDamage, EveryByteMayBeMissingOrTwiceThere) {
  const std::string whole = kWhole;
  for (size_t at = 0; at < whole.size(); at++) {
    ExpectSane(whole.substr(0, at) + whole.substr(at + 1));
    ExpectSane(whole.substr(0, at) + whole[at] + whole.substr(at));
  }
}

// ---- files ----

class ConfigFile : public testing::Test {
protected:
  ConfigFile() {
    const char *base = getenv("TEST_TMPDIR");
    path_ =
        std::string(base != nullptr ? base : "/tmp") + "/config_test_" + std::to_string(getpid());
  }
  ~ConfigFile() override { unlink(path_.c_str()); }

  void Write(const std::string &text) const {
    FILE *file = fopen(path_.c_str(), "we");
    ASSERT_NE(file, nullptr);
    fwrite(text.data(), 1, text.size(), file);
    ASSERT_EQ(fclose(file), 0);
  }
  // "STATUS: MESSAGE"
  std::string Load(const std::string &path) {
    char message[RF_CONFIG_MESSAGE] = "";
    const int status = rf_config_load(path.c_str(), &config_, message, sizeof(message));
    return std::to_string(status) + ": " + message;
  }

  std::string path_;
  rf_config config_ = {};
};

TEST_F(ConfigFile, IsLoaded) {
  Write(kWhole);
  EXPECT_EQ(Load(path_), "0: ");
  EXPECT_EQ(config_.read.pool.workers, 3u);
}

TEST_F(ConfigFile, IsRefusedWithTheLineAndTheKey) {
  Write("{\n  \"version\": 1,\n  \"write\": {\n    \"depth\": 8\n  }\n}\n");
  EXPECT_EQ(Load(path_), std::to_string(-EINVAL) + ": line 4: write.depth: no such key");
}

TEST_F(ConfigFile, IsRefusedWhenItIsNone) {
  EXPECT_EQ(Load(path_ + ".missing"), std::to_string(-ENOENT) + ": cannot be opened");
  EXPECT_EQ(Load("/"), std::to_string(-EINVAL) + ": is not a regular file");
  EXPECT_EQ(Load("/dev/zero"), std::to_string(-EINVAL) + ": is not a regular file");
}

TEST_F(ConfigFile, IsNotWaitedForInAPipe) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(Load(path_), std::to_string(-EINVAL) + ": is not a regular file");
}

TEST_F(ConfigFile, IsReadOnlyUpToItsLimit) {
  Write(std::string(RF_CONFIG_MOST + 1, ' '));
  EXPECT_EQ(Load(path_), std::to_string(-EINVAL) + ": line 1: more than 65536 bytes");
}

// ---- writing ----

std::string Format(const rf_config &config, const char *note) {
  std::vector<char> text(rf_config_format(&config, note, nullptr, 0) + 1);
  EXPECT_EQ(rf_config_format(&config, note, text.data(), text.size()), text.size() - 1);
  return text.data();
}

TEST(ConfigFormat, GivesTheTextThatIsRead) {
  rf_config config;
  rf_config_init(&config);
  config.write.given = true;
  config.write.engine.choice = RF_CHOICE_PREFER;
  config.write.engine.backend = RF_BACKEND_IO_URING;
  EXPECT_EQ(Format(config, "of \"here\"\n\xff"), R"({
  "version": 1,
  "note": "of \"here\"??",
  "write": {
    "backend": "io_uring",
    "block_size": 1048576,
    "queue_depth": 16,
    "workers": 2,
    "single_submit": false,
    "overlap_events": true
  }
}
)");
}

TEST(ConfigFormat, ComesBackAsItWas) {
  const Parsed first = Parse(kWhole);
  const Parsed second = Parse(Format(first.config, "caf\xc3\xa9 \\"));
  ASSERT_EQ(second.status, 0) << second.message;
  EXPECT_EQ(Format(second.config, nullptr), Format(first.config, nullptr));
  EXPECT_EQ(second.config.read.pool.bounce_limit, 8388608u);
  EXPECT_TRUE(second.config.read.pool.lock_bounce);
  EXPECT_TRUE(second.config.read.pool.single_submit);
  EXPECT_EQ(second.config.write.engine.backend, RF_BACKEND_THREADS);
}

TEST(ConfigFormat, NeverWritesBeyondItsRoom) {
  const Parsed parsed = Parse(kWhole);
  const std::string whole = Format(parsed.config, "note");
  for (size_t room = 1; room < whole.size() + 2; room++) {
    std::unique_ptr<char[]> text(new char[room]);
    EXPECT_EQ(rf_config_format(&parsed.config, "note", text.get(), room), whole.size());
    EXPECT_EQ(std::string(text.get()), whole.substr(0, room - 1));
  }
}

} // namespace
