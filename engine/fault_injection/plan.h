// SPDX-License-Identifier: Apache-2.0
/* What the injector has to know of plans: see ringfall/fault_injection.h. */
#ifndef RINGFALL_ENGINE_FAULT_INJECTION_PLAN_H
#define RINGFALL_ENGINE_FAULT_INJECTION_PLAN_H

#include <ringfall/fault_injection.h>

#define RF_CHANCE_ALWAYS 1000000u

/* Whether this can be a fault: its fields are in range, and what it needs is there. */
bool rf_fault_is_sound(const struct rf_fault *fault);

#endif
