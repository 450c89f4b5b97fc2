package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
)

// finish tells what was built, to people and to programs.
func (c *cli) finish(f *buildFlags, res *builder.Result, out *destinations) error {
	if f.iidFile != "" {
		if err := output.WriteFile(f.iidFile, []byte(res.Digest())); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if f.metadataFile != "" {
		if err := writeMetadata(f.metadataFile, res); err != nil {
			return fmt.Errorf("--metadata-file: %w", err)
		}
	}
	if f.progress == "quiet" {
		return c.printf("%s\n", res.Digest())
	}
	line := "built " + res.Digest().String()
	var names []string
	for _, n := range res.Names {
		names = append(names, familiar(n))
	}
	if len(names) > 0 {
		line += " " + strings.Join(names, ", ")
	}
	if len(out.written) > 0 {
		line += "; " + strings.Join(out.written, ", ")
	}
	_, err := fmt.Fprintln(c.stderr, line+traffic(res.Received, res.Sent))
	return err
}

// traffic says what went over the network, if anything.
func traffic(received, sent int64) string {
	if received == 0 && sent == 0 {
		return ""
	}
	return fmt.Sprintf("; received %d, sent %d bytes", received, sent)
}

// writeMetadata writes under docker's names what of theirs we have. An index
// has no config.
func writeMetadata(path string, r *builder.Result) error {
	config := ""
	if r.Index == nil {
		config = digest.FromBytes(r.Images[0].Config).String()
	}
	data, err := json.MarshalIndent(struct {
		Digest       digest.Digest      `json:"containerimage.digest"`
		Descriptor   ocispec.Descriptor `json:"containerimage.descriptor"`
		ConfigDigest string             `json:"containerimage.config.digest,omitempty"`
		Names        string             `json:"image.name,omitempty"`
	}{r.Descriptor.Digest, r.Descriptor, config, strings.Join(r.Names, ",")}, "", "  ")
	if err != nil {
		return err
	}
	return output.WriteFile(path, append(data, '\n'))
}
