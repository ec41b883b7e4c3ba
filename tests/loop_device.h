// SPDX-License-Identifier: Apache-2.0
// A block device over a file, for root.
#ifndef RINGFALL_TESTS_LOOP_DEVICE_H
#define RINGFALL_TESTS_LOOP_DEVICE_H

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

namespace loop_device {

// missing() is "", or what is missing if there can be none.  `sector` is its logical block size.
class Loop {
public:
  explicit Loop(const std::string &backing, unsigned long sector = 512) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) {
      missing_ = "root and /dev/loop-control, to make a loop device";
      return;
    }
    int file = open(backing.c_str(), O_RDWR | O_CLOEXEC);
    for (int attempt = 0; attempt < 16 && device_ < 0; attempt++) { // others look for one, too
      int number = ioctl(control, LOOP_CTL_GET_FREE);
      path_ = "/dev/loop" + std::to_string(number);
      int fd = number < 0 ? -1 : open(path_.c_str(), O_RDWR | O_CLOEXEC);
      if (fd < 0) break;
      if (ioctl(fd, LOOP_SET_FD, file) == 0)
        device_ = fd;
      else
        close(fd);
    }
    close(file);
    close(control);
    loop_info64 info = {};
    info.lo_flags = LO_FLAGS_AUTOCLEAR; // gone with its last user, however the process ends
    if (device_ < 0)
      missing_ = "a loop device that is free";
    else if (ioctl(device_, LOOP_SET_STATUS64, &info) != 0)
      missing_ = "loop devices that clear themselves";
    else if (ioctl(device_, LOOP_SET_BLOCK_SIZE, sector) != 0)
      missing_ = "loop devices with sectors of " + std::to_string(sector) + " bytes";
  }
  Loop(const Loop &) = delete;
  Loop &operator=(const Loop &) = delete;
  ~Loop() {
    if (device_ < 0) return;
    ioctl(device_, LOOP_CLR_FD, 0);
    close(device_);
  }
  const std::string &missing() const { return missing_; }
  const std::string &path() const { return path_; }

private:
  std::string missing_, path_;
  int device_ = -1;
};

} // namespace loop_device

#endif
