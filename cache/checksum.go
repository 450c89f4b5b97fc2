package cache

import (
	"fmt"
	"hash"
	"hash/crc32"
	"os"
	"strconv"
)

// A blob's file carries the CRC-32C of its bytes in an attribute, where the file
// system takes one. That the bytes are those that came in is seen by it in a tenth
// of the time that the digest takes; where it differs or there is none, the digest
// decides. It guards against what disks and file systems do. Somebody who may write
// in the store can change what its records say as well.
const checksumAttribute = "user.ocibuild.crc32c"

// NewChecksum returns the checksum of a blob, for [Dir.AdoptBlob].
func NewChecksum() hash.Hash32 { return crc32.New(castagnoli) }

// keepChecksum writes the checksum to the file. Without it, more has to be computed.
func keepChecksum(f *os.File, sum hash.Hash32) {
	_ = setAttribute(f, checksumAttribute, fmt.Sprintf("%08x", sum.Sum32()))
}

// keptChecksum reads what keepChecksum wrote.
func keptChecksum(f *os.File) (sum uint32, ok bool) {
	text, err := attribute(f, checksumAttribute)
	if err != nil || len(text) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 16, 32)
	return uint32(n), err == nil
}
