// Package inflate decompresses gzip streams (RFC 1952 and 1951), as fast as Go
// allows without package unsafe.
//
// A [Reader] accepts what compress/gzip accepts and refuses what it refuses, with
// the same errors, but for reserved flags, which it refuses: there may be several
// members, checksum and size of each are checked, and what follows the last is an
// error. Whatever a stream says, nothing outside the Reader's own buffers is read or
// written, and they take less than half a MiB. A Reader reads ahead.
//
// Reading a base layer is inflating, to four fifths. Hence a decoder of our own:
// it decodes into a buffer that the consumer looks into, and takes about half the
// processor time of klauspost/compress and two fifths of that of compress/gzip, as
// BenchmarkReader measures.
package inflate
