// Package web shows single files as trees: those that were fetched over HTTP,
// or came as a stream. They lie in the store as blobs.
package web
