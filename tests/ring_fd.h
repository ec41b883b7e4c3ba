// SPDX-License-Identifier: Apache-2.0
// What the kernel itself says of this process's rings: /proc/self/fdinfo.
#ifndef RINGFALL_TESTS_RING_FD_H
#define RINGFALL_TESTS_RING_FD_H

#include <dirent.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace ring_fd {

// The descriptors of rings that this process has open.
inline std::vector<int> All() {
  std::vector<int> rings;
  DIR *directory = opendir("/proc/self/fd");
  if (directory == nullptr) return rings;
  for (dirent *entry; (entry = readdir(directory)) != nullptr;) {
    char target[64] = {};
    std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), target, sizeof(target) - 1) <= 0) continue;
    if (std::string(target) == "anon_inode:[io_uring]") rings.push_back(atoi(entry->d_name));
  }
  closedir(directory);
  return rings;
}

// How many places of "UserFiles" or "UserBufs" are taken; -1 if the kernel does not tell.  An empty
// place is "<none>", or for buffers on Linux 6.1 one byte at the last address.
inline int Taken(int ring, const std::string &table) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(ring));
  int taken = -1;
  for (std::string line; std::getline(info, line);) {
    if (line.compare(0, table.size() + 1, table + ":") == 0)
      taken = 0;
    else if (taken >= 0 && line.compare(0, 1, " ") != 0)
      break;
    else if (taken >= 0 && line.find("<none>") == std::string::npos &&
             line.find("0xffffffffffffffff/") == std::string::npos)
      taken++;
  }
  return taken;
}

} // namespace ring_fd

#endif
