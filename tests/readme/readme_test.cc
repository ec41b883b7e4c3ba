// SPDX-License-Identifier: Apache-2.0
// The example in the README is the one that is compiled here, and it does what it says.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace {

std::string Contents(const std::string &path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string OutputOf(const std::string &command, int *exit_status) {
  std::string output;
  FILE *pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  std::array<char, 256> line;
  while (fgets(line.data(), line.size(), pipe) != nullptr) output += line.data();
  *exit_status = pclose(pipe);
  return output;
}

TEST(Readme, ShowsTheExampleThatIsCompiledHere) {
  std::string example = Contents("tests/readme/example.c");
  ASSERT_FALSE(example.empty());
  EXPECT_NE(Contents("README.md").find("```c\n" + example + "```"), std::string::npos)
      << "copy tests/readme/example.c into README.md";
}

TEST(Readme, HasAnExampleThatWritesAndReadsBack) {
  const char *directory = getenv("TEST_TMPDIR");
  std::string path = std::string(directory != nullptr ? directory : "/tmp") + "/example.data";
  int exit_status = -1;
  std::string output = OutputOf("tests/readme/example " + path, &exit_status);
  EXPECT_EQ(exit_status, 0) << output;
  for (const char *deed : {"write", "read"})
    EXPECT_NE(output.find(std::string(deed) + " of 17 bytes at offset 0 of " + path + " by "),
              std::string::npos)
        << output;
  EXPECT_NE(output.find(": done, 17 bytes\none answer each\n"), std::string::npos) << output;
}

} // namespace
