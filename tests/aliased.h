// SPDX-License-Identifier: Apache-2.0
// Memory for transfers of gigabytes that takes a few megabytes.
#ifndef RINGFALL_TESTS_ALIASED_H
#define RINGFALL_TESTS_ALIASED_H

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace aliased {

// An address space of any size over little memory: windows onto the same pages again and again, but
// for those windows that were asked to have pages of their own.
class Aliased {
public:
  static constexpr size_t kWindow = 4 << 20;

  Aliased(uint64_t size, const std::vector<uint64_t> &own) : size_(size + kWindow) {
    fd_ = memfd_create("ringfall_alias", MFD_CLOEXEC);
    EXPECT_EQ(0, ftruncate(fd_, kWindow));
    void *at = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(MAP_FAILED, at);
    data_ = static_cast<unsigned char *>(at);
    for (uint64_t window = 0; window + kWindow <= size_; window += kWindow) Map(window, false);
    for (uint64_t position : own) Map(position / kWindow * kWindow, true);
  }
  Aliased(const Aliased &) = delete;
  Aliased &operator=(const Aliased &) = delete;
  ~Aliased() {
    munmap(data_, size_);
    close(fd_);
  }
  unsigned char *data() { return data_; }

private:
  void Map(uint64_t window, bool own) {
    void *at = own ? mmap(data_ + window, kWindow, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
                   : mmap(data_ + window, kWindow, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd_, 0);
    EXPECT_NE(MAP_FAILED, at);
  }
  uint64_t size_;
  int fd_;
  unsigned char *data_;
};

} // namespace aliased

#endif
