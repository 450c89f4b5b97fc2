package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/source"
)

// listed is an image in a list; what is not known is empty.
type listed struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
	Size     int64         `json:"size"`
	Created  *time.Time    `json:"created,omitempty"`
}

func (c *cli) imagesCommand() *cobra.Command {
	var asJSON, digests bool
	cmd := &cobra.Command{
		Use: "images", Short: "List the images of the store", Args: between(0, 0),
		RunE: c.do(func(ctx context.Context, _ []string) error { return c.images(ctx, asJSON, digests) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as a JSON array")
	cmd.Flags().BoolVar(&digests, "digests", false, "with whole digests")
	return cmd
}

func (c *cli) images(ctx context.Context, asJSON, digests bool) error {
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	s.images.Offline = true // a list is quick
	tags, err := s.dir.Tags()
	if err != nil {
		return err
	}
	list := make([]listed, len(tags))
	for i, t := range tags {
		list[i] = s.list(ctx, t)
	}
	if asJSON {
		return c.printJSON(list)
	}
	return c.table(list, digests)
}

// list describes an image, or an index with all its images. One that is damaged
// is listed as well: it can be removed by its name.
func (s *store) list(ctx context.Context, t cache.Tagged) listed {
	l := listed{Name: t.Name, Digest: t.Descriptor.Digest}
	var all []*source.Image
	if stored, err := s.images.LoadAll(ctx, t.Name); err == nil {
		all = stored.Images
	} else if img, err := s.images.Load(ctx, t.Name, ocispec.Platform{}); err == nil {
		all = []*source.Image{img} // of an index that is here in part
	}
	seen := map[digest.Digest]bool{}
	var names []string
	for _, img := range all {
		names = append(names, platforms.Format(img.Platform))
		var config ocispec.Image
		if json.Unmarshal(img.Config, &config) == nil {
			l.Created = config.Created
		}
		for _, one := range img.Layers {
			if d, err := one.Descriptor(ctx); err == nil && !seen[d.Digest] {
				seen[d.Digest] = true
				l.Size += d.Size
			}
		}
	}
	l.Platform = strings.Join(names, ",")
	return l
}

func (c *cli) table(list []listed, digests bool) error {
	w := tabwriter.NewWriter(c.stdout, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tDIGEST\tPLATFORM\tCREATED\tSIZE")
	for _, l := range list {
		id, created := l.Digest.String(), ""
		if !digests {
			id = l.Digest.Encoded()[:min(12, len(l.Digest.Encoded()))]
		}
		if l.Created != nil {
			created = l.Created.UTC().Format("2006-01-02 15:04")
		}
		fmt.Fprintln(w, strings.Join([]string{printable(familiar(l.Name)), id, l.Platform, created, size(l.Size)}, "\t"))
	}
	return w.Flush()
}

// size writes bytes as registries count them.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, u := float64(n), 0
	for f >= 1000 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}

func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
