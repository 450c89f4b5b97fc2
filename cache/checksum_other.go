//go:build !linux

package cache

import (
	"errors"
	"os"
)

func setAttribute(*os.File, string, string) error { return errors.ErrUnsupported }

func attribute(*os.File, string) (string, error) { return "", errors.ErrUnsupported }
