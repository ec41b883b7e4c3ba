// SPDX-License-Identifier: Apache-2.0
// How a program that uses ringfall tests its own handling of errors: the engine that it is given
// comes from rf_fault_engine_open().
#include "tests/faults/saver.h"

#include <gtest/gtest.h>
#include <ringfall/fault_injection.h>
#include <ringfall/ringfall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace {

class Saver : public testing::Test {
protected:
  // Saves `text` while things go wrong by the plan.
  int SaveWith(const std::string &plan_text, const std::string &text) {
    rf_fault_plan plan;
    const char *where = nullptr;
    EXPECT_EQ(rf_fault_plan_parse(plan_text.c_str(), &plan, &where), 0) << where;
    rf_fault_injector *injector = nullptr;
    rf_engine *engine = nullptr;
    EXPECT_EQ(rf_fault_injector_open(&plan, &injector), 0);
    EXPECT_EQ(rf_fault_engine_open(injector, &engine, nullptr), 0);
    int status = save(engine, path.c_str(), text.data(), text.size());
    EXPECT_EQ(rf_engine_close(engine), 0) << "the program has left something open";
    rf_fault_injector_counts(injector, &counts);
    rf_fault_injector_close(injector);
    return status;
  }

  std::string Content() {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  bool Litter() { return access((path + ".new").c_str(), F_OK) == 0; }

  void TearDown() override { unlink(path.c_str()); }

  std::string path =
      std::string(getenv("TEST_TMPDIR") != nullptr ? getenv("TEST_TMPDIR") : "/tmp") + "/saved";
  rf_fault_counts counts = {};
};

TEST_F(Saver, KeepsTheOldTextWhenTheNewOneDoesNotFit) {
  ASSERT_EQ(SaveWith("", "old"), 0);
  EXPECT_EQ(SaveWith("short=3:write error=ENOSPC:write@2", "the new one"), -ENOSPC);
  EXPECT_EQ(Content(), "old");
  EXPECT_FALSE(Litter());
}

TEST_F(Saver, KeepsTheOldTextWhenTheNewOneCannotBeMadeDurable) {
  ASSERT_EQ(SaveWith("", "old"), 0);
  EXPECT_EQ(SaveWith("error=EIO:fsync", "the new one"), -EIO);
  EXPECT_EQ(Content(), "old");
  EXPECT_FALSE(Litter());
}

TEST_F(Saver, SavesInSpiteOfWhatRingfallSeesTo) {
  std::string text(10000, 'x');
  for (int seed = 0; seed < 20; seed++) {
    std::string plan = "seed=" + std::to_string(seed) +
                       " short=50% error=EINTR:20% refuse=EAGAIN:x2 delay=1ms:30%";
    SCOPED_TRACE(plan); // printed if it fails: it is all that is needed to see it again
    text += std::to_string(seed);
    EXPECT_EQ(SaveWith(plan, text), 0);
    EXPECT_EQ(Content(), text);
  }
}

TEST_F(Saver, SavesThoughTheBackendDiesAtOnce) {
  EXPECT_EQ(SaveWith("stand_in death=EPERM", "all of it"), 0);
  EXPECT_EQ(counts.injected[RF_FAULT_DEATH] > 0, true);
  EXPECT_EQ(Content(), "all of it");
}

} // namespace
