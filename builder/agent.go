package builder

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// The messages that pass (draft-ietf-sshm-ssh-agent, section 6.1).
const (
	agentFailure    = 5
	agentList       = 11
	agentListAnswer = 12
	agentSign       = 13
	agentSignAnswer = 14
)

// maxFrame bounds a message, in bytes, as OpenSSH's own agent does.
const maxFrame = 256 << 10

// serveAgent answers an agent's client until it is gone. Only the lists of keys
// and what is to be signed are asked on: no step adds, removes or locks keys,
// and no extension of the protocol gets round that. Nothing here writes to a
// log, which a step could fill.
func serveAgent(c net.Conn, ask func(request []byte) (answer []byte, err error)) {
	for {
		request, err := readFrame(c)
		if err != nil {
			return
		}
		answer := []byte{agentFailure}
		if len(request) > 0 && (request[0] == agentList || request[0] == agentSign) {
			if answer, err = ask(request); err != nil {
				return
			}
		}
		if err := writeFrame(c, answer); err != nil {
			return
		}
	}
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes is too large", n)
	}
	data := make([]byte, n)
	_, err := io.ReadFull(r, data)
	return data, err
}

func writeFrame(w io.Writer, data []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// answer does what an agent with these keys does.
func answer(keys agent.ExtendedAgent, request []byte) []byte {
	switch request[0] {
	case agentList:
		return list(keys)
	default:
		return sign(keys, request[1:])
	}
}

func list(keys agent.ExtendedAgent) []byte {
	all, err := keys.List()
	if err != nil {
		return []byte{agentFailure}
	}
	out := binary.BigEndian.AppendUint32([]byte{agentListAnswer}, uint32(len(all)))
	for _, k := range all {
		out = append(out, ssh.Marshal(struct {
			Blob    []byte
			Comment string
		}{k.Blob, k.Comment})...)
	}
	return out
}

func sign(keys agent.ExtendedAgent, body []byte) []byte {
	var request struct {
		Blob, Data []byte
		Flags      uint32
	}
	if err := ssh.Unmarshal(body, &request); err != nil {
		return []byte{agentFailure}
	}
	signature, err := keys.SignWithFlags(&agent.Key{Blob: request.Blob}, request.Data, agent.SignatureFlags(request.Flags))
	if err != nil {
		return []byte{agentFailure}
	}
	return append([]byte{agentSignAnswer}, ssh.Marshal(struct{ Signature []byte }{ssh.Marshal(signature)})...)
}
