// Package cache keeps the results of build steps and the bytes they made.
//
// A [Key] says what would be done; a [Record] says which layers came out. A
// [Store] finds records by key and holds content-addressed blobs. [Dir] is the
// local store: plain files in the shape of an OCI image layout, shared by any
// number of processes without a lock on the whole. Every file is written under
// another name, checked and renamed, so a reader sees a whole file or none.
package cache
