package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeRecord returns the stored form of a record: its checksum (CRC-32C) in
// eight hex digits, a space, and JSON. Without the checksum, a damaged digit
// would be another digest, and nobody would know.
func encodeRecord(r *Record) ([]byte, error) {
	data, err := json.Marshal(r)
	return append(fmt.Appendf(nil, "%08x ", crc32.Checksum(data, castagnoli)), data...), err
}

func decodeRecord(stored []byte) (*Record, error) {
	sum, data, _ := bytes.Cut(stored, []byte(" "))
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)) {
		return nil, errors.New("its checksum is wrong")
	}
	r := &Record{}
	return r, json.Unmarshal(data, r)
}
