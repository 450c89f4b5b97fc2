// Package inflate decompresses gzip streams, as fast as Go allows without
// package unsafe.
//
// A [Reader] accepts what compress/gzip accepts and refuses what it refuses,
// with the same errors: several members in a row, every header of RFC 1952,
// every block of RFC 1951; checksum and size of each member are checked. It
// never reads or writes outside its own buffers, whatever the stream says, and
// takes less than half a MiB, whatever the stream holds. It reads ahead, so what follows the
// gzip data in its input is lost, or an error.
//
// Reading a base layer is inflating, to four fifths. Hence a decoder of our own:
// it decodes into a buffer the consumer looks into, and spends half the
// processor time of the libraries (see the benchmarks).
package inflate
