// SPDX-License-Identifier: Apache-2.0
/* Rings are mapped and unmapped behind ThreadSanitizer's back: liburing makes the system calls
 * itself, and the kernel maps libaio's.  Two rings that have the same address one after the other,
 * in two threads, would look to it like one piece of memory in a race, also in a program that only
 * links this library.  These two calls tell it the order; without ThreadSanitizer they are nothing.
 */
#ifndef RINGFALL_BACKENDS_MAPPING_H
#define RINGFALL_BACKENDS_MAPPING_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RF_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RF_THREAD_SANITIZER 1
#endif

#if defined(RF_THREAD_SANITIZER)

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* One for all backends: the memory of one's ring may have been another's. */
extern char rf_mappings;

/* After the kernel has made a mapping. */
static inline void rf_mapping_made(void) {
  __tsan_acquire(&rf_mappings);
}

/* Before it goes. */
static inline void rf_mapping_goes(void) {
  __tsan_release(&rf_mappings);
}

#else

static inline void rf_mapping_made(void) {}
static inline void rf_mapping_goes(void) {}

#endif

#endif
