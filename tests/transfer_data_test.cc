// SPDX-License-Identifier: Apache-2.0
// The bytes of transfers: those asked for, and no others; whatever the size, the offset, the
// address and the way they go.
#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

struct Shape {
  uint64_t offset, length;
  size_t shift; // of the buffer, from a page's start
};

std::ostream &operator<<(std::ostream &out, const Shape &shape) {
  return out << shape.length << " bytes at " << shape.offset << ", address +" << shape.shift;
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (uint64_t length : {0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 65537, 300000})
    for (uint64_t offset : {0, 1, 511, 512, 4095, 4096, 4097, 12289})
      for (size_t shift : {0, 1, 8, 511, 512}) shapes.push_back({offset, length, shift});
  return shapes;
}

class TransferData : public Transfers {};

TEST_P(TransferData, ReadsHaveTheBytesOfTheRangeAndTouchNoOthers) {
  constexpr size_t kSize = 320000;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  Buffer room(400000);
  for (const Shape &shape : Shapes()) {
    memset(room.data(), 0xEE, room.size());
    unsigned char *at = room.data() + shape.shift;
    rf_transfer_result result = Read(pool, ByPath(path, at, shape.length, shape.offset));
    ASSERT_EQ(0, result.status) << shape;
    ASSERT_EQ(shape.length, result.bytes) << shape;
    ASSERT_EQ("", DiffersFromPattern(at, shape.length, shape.offset)) << shape;
    ASSERT_TRUE(IsAll(room.data(), shape.shift, 0xEE)) << shape;
    size_t after = shape.shift + shape.length;
    ASSERT_TRUE(IsAll(room.data() + after, room.size() - after, 0xEE)) << shape;
  }
}

TEST_P(TransferData, WritesHaveTheBytesOfTheBufferAndTouchNoOthers) {
  constexpr size_t kSize = 320000;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  std::vector<unsigned char> expected = Content(path);
  unsigned seed = 1;
  for (const Shape &shape : Shapes()) {
    Buffer data(shape.shift + shape.length);
    for (size_t i = 0; i < shape.length; i++)
      data[shape.shift + i] = expected[shape.offset + i] = PatternAt(i, seed);
    rf_transfer_result result =
        Write(pool, ByPath(path, data.data() + shape.shift, shape.length, shape.offset));
    ASSERT_EQ(0, result.status) << shape;
    ASSERT_EQ(shape.length, result.bytes) << shape;
    ASSERT_TRUE(expected == Content(path)) << shape;
    seed++;
  }
}

TEST_P(TransferData, NewFilesEndWhereTheLastByteIs) {
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  for (bool preallocate : {false, true}) {
    for (uint64_t length : {0, 1, 511, 513, 4096, 4097, 300001}) {
      for (uint64_t offset : {0, 3, 4096}) {
        std::string path = NewPath();
        Buffer data = Buffer::Pattern(length, offset);
        rf_transfer_request request = ByPath(path, data.data(), length, offset);
        if (!preallocate) request.flags = RF_TRANSFER_CREATE;
        rf_transfer_result result = Write(pool, request);
        ASSERT_EQ(0, result.status) << length << " at " << offset;
        ASSERT_EQ(length, result.bytes);
        std::vector<unsigned char> found = Content(path);
        ASSERT_EQ(length == 0 ? 0 : offset + length, found.size());
        if (length == 0) continue;
        EXPECT_TRUE(IsAll(found.data(), offset, 0)) << length << " at " << offset;
        EXPECT_EQ("", DiffersFromPattern(found.data() + offset, length, offset));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferData, testing::ValuesIn(AllCases()), CaseName);

} // namespace
} // namespace transfer_rig
