// SPDX-License-Identifier: Apache-2.0
#if defined(__SANITIZE_THREAD__)
// The rings' memory is mapped and unmapped behind ThreadSanitizer's back (liburing makes the system
// calls itself, the kernel maps libaio's), so that two rings which have the same address one after
// the other, in two threads, look to it like one piece of memory in a race.
extern "C" const char *__tsan_default_suppressions() {
  return "race:liburing.h\nrace:ring_count\nrace:ring_pop\n";
}
#endif
