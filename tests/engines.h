// SPDX-License-Identifier: Apache-2.0
// Engines that tests share.
#ifndef RINGFALL_TESTS_ENGINES_H
#define RINGFALL_TESTS_ENGINES_H

#include <gtest/gtest.h>
#include <ringfall/engine.h>

namespace engines {

// In place of a backend: the engine chooses.
constexpr rf_backend_id kAutomatic = RF_BACKENDS;

inline int OpenEngine(rf_backend_id backend, rf_engine **engine) {
  rf_engine_options options;
  rf_engine_options_init(&options);
  options.choice = backend == kAutomatic ? RF_CHOICE_AUTO : RF_CHOICE_REQUIRE;
  if (backend != kAutomatic) options.backend = backend;
  options.ignore_environment = true;
  return rf_engine_open(engine, &options);
}

// One engine a backend for the whole program: opening one takes as long as many tests.
class Engines : public testing::Environment {
public:
  static Engines *Get() {
    static auto *engines = static_cast<Engines *>(testing::AddGlobalTestEnvironment(new Engines));
    return engines;
  }
  int Find(rf_backend_id backend, rf_engine **engine) {
    rf_engine *&kept = open_[backend];
    int status = kept == nullptr ? OpenEngine(backend, &kept) : 0;
    *engine = kept;
    return status;
  }
  void TearDown() override {
    for (rf_engine *engine : open_) EXPECT_EQ(0, rf_engine_close(engine)) << "something is open";
  }

private:
  rf_engine *open_[RF_BACKENDS + 1] = {};
};
inline Engines *const engines_registered = Engines::Get();

} // namespace engines

#endif
