// SPDX-License-Identifier: Apache-2.0
#include "backends/mapping.h"

#if defined(RF_THREAD_SANITIZER)
char rf_mappings;
#else
typedef int rf_no_thread_sanitizer; /* C17 has no empty files */
#endif
