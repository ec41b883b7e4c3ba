// SPDX-License-Identifier: Apache-2.0
/* Chance that is the same in every run: numbers out of a seed and what is to be decided. */
#ifndef RINGFALL_ENGINE_FAULT_INJECTION_CHANCE_H
#define RINGFALL_ENGINE_FAULT_INJECTION_CHANCE_H

#include <stdint.h>

/* Every bit of the result depends on every bit of the number (the finalizer of MurmurHash3). */
static inline uint64_t rf_mix(uint64_t number) {
  number ^= number >> 33;
  number *= UINT64_C(0xff51afd7ed558ccd);
  number ^= number >> 33;
  number *= UINT64_C(0xc4ceb9fe1a85ec53);
  return number ^ number >> 33;
}

static inline uint64_t rf_mix_in(uint64_t sum, uint64_t number) {
  return rf_mix(sum + UINT64_C(0x9e3779b97f4a7c15) + rf_mix(number));
}

#endif
