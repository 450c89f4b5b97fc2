package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/internal/source"
)

// maxDocument is the most bytes of an index that is shown.
const maxDocument = 8 << 20

// inspected is all there is to know of an image.
type inspected struct {
	Name     string           `json:"name,omitempty"`
	Digest   digest.Digest    `json:"digest"`
	ID       digest.Digest    `json:"configDigest"`
	Platform ocispec.Platform `json:"platform"`
	Index    digest.Digest    `json:"indexDigest,omitempty"` // of which it is a part
	Created  json.RawMessage  `json:"created,omitempty"`
	Config   json.RawMessage  `json:"config,omitempty"`
	Layers   []inspectedLayer `json:"layers"`
	History  json.RawMessage  `json:"history,omitempty"`
}

type inspectedLayer struct {
	Digest    digest.Digest `json:"digest"`
	DiffID    digest.Digest `json:"diffID"`
	Size      int64         `json:"size"`
	MediaType string        `json:"mediaType"`
	Stored    bool          `json:"stored"` // false: only its registry has it
}

func (c *cli) inspectCommand() *cobra.Command {
	var raw, config bool
	var platform string
	cmd := &cobra.Command{
		Use: "inspect NAME", Short: "Show an image of the store as JSON", Args: between(1, 1),
		RunE: c.do(func(ctx context.Context, args []string) error {
			if raw && config {
				return usagef("--raw and --config are two different documents")
			}
			return c.inspect(ctx, args[0], platform, raw, config)
		}),
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "the manifest, or without --platform the index, byte for byte")
	cmd.Flags().StringVar(&platform, "platform", "", "`PLATFORM` of an index, such as linux/arm64 (default this machine's)")
	cmd.Flags().BoolVar(&config, "config", false, "the configuration, byte for byte")
	return cmd
}

func (c *cli) inspect(ctx context.Context, arg, platform string, raw, config bool) error {
	p, err := onePlatform(platform)
	if err != nil {
		return err
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	img, err := s.image(ctx, arg, p)
	if err != nil {
		return err
	}
	switch {
	case raw && p == nil:
		root, err := s.dir.ReadBlob(img.Root.Digest, maxDocument)
		if err != nil {
			return err
		}
		return c.printf("%s", root)
	case raw:
		return c.printf("%s", img.Document)
	case config:
		return c.printf("%s", img.Config)
	}
	all, err := s.inspect(ctx, img)
	if err != nil {
		return err
	}
	return c.printJSON(all)
}

func (s *store) inspect(ctx context.Context, img *source.Image) (*inspected, error) {
	// As they are in the config: our types would drop what they do not know.
	var doc struct{ Created, Config, History json.RawMessage }
	if err := json.Unmarshal(img.Config, &doc); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	all := &inspected{
		Name: img.Name, Digest: img.Digest, ID: img.ConfigDigest, Platform: img.Platform,
		Created: doc.Created, Config: doc.Config, History: doc.History, Layers: []inspectedLayer{},
	}
	if img.Root.Digest != img.Digest {
		all.Index = img.Root.Digest
	}
	for _, l := range img.Layers {
		d, err := l.Descriptor(ctx)
		if err != nil {
			return nil, err
		}
		_, stored := s.dir.HasBlob(d.Digest)
		all.Layers = append(all.Layers, inspectedLayer{d.Digest, l.DiffID, d.Size, d.MediaType, stored})
	}
	return all, nil
}
