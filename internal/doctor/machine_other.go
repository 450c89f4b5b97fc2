//go:build !linux

package doctor

import "context"

// look does nothing: what matters of a store's file system matters to RUN.
func (s *Store) look() {}

func registered() []string { return nil }

func runtimes(context.Context, string) []Runtime { return nil }
