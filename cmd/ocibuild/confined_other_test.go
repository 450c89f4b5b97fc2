//go:build !linux

package main

import "errors"

func inDocker() {}

func inPod() {}

func canPod() error { return errors.New("it takes Linux") }
