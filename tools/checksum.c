// SPDX-License-Identifier: Apache-2.0
/* SHA-256 through libcrypto's EVP, which takes the processor's own instructions where it has them.
 */
#include "checksum.h"

#include <openssl/evp.h>
#include <stdio.h>

bool checksum_open(struct checksum *sum) {
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  sum->context = context;
  if (context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1) return true;
  checksum_close(sum);
  return false;
}

bool checksum_add(struct checksum *sum, const void *data, size_t length) {
  return EVP_DigestUpdate(sum->context, data, length) == 1;
}

bool checksum_hex(struct checksum *sum, char hex[CHECKSUM_HEX]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (EVP_DigestFinal_ex(sum->context, digest, &length) != 1 || length != 32) return false;
  for (unsigned i = 0; i < length; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return true;
}

void checksum_close(struct checksum *sum) {
  EVP_MD_CTX_free(sum->context);
  sum->context = NULL;
}
