package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

// Key says what a step would do: two steps with equal keys yield the same layers.
type Key [sha256.Size]byte

// String returns the key in hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// ParseKey reads what String returned.
func ParseKey(s string) (Key, error) {
	var k Key
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("cache key %q: not %d hexadecimal digits", s, 2*len(k))
	}
	copy(k[:], b)
	return k, nil
}

// Part is one named ingredient of a key, kept beside the record so that a miss
// can be explained.
type Part struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Hasher makes a Key of named parts. Names and values are framed by their
// lengths, so no two lists of parts run into each other.
type Hasher struct {
	h     hash.Hash
	parts []Part
}

// NewHasher starts a key of the given kind; keys of different kinds differ.
func NewHasher(kind string) *Hasher {
	h := &Hasher{h: sha256.New()}
	h.frame(kind)
	return h
}

// Add appends a part.
func (h *Hasher) Add(name, value string) {
	h.frame(name)
	h.frame(value)
	h.parts = append(h.parts, Part{Name: name, Value: value})
}

// Sum returns the key and the parts it was made of.
func (h *Hasher) Sum() (Key, []Part) {
	var k Key
	h.h.Sum(k[:0])
	return k, h.parts
}

func (h *Hasher) frame(s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.h.Write(n[:])
	h.h.Write([]byte(s))
}
