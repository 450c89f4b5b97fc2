//go:build linux && !amd64 && !arm64

package notify

var abis []abi

var procABIs []abi
