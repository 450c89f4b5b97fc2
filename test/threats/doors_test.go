//go:build linux

package threats

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/ocibuild/ocibuild/builder"
)

// The doors through which a tar of somebody else comes in: as a layer of a base
// image that is copied from, as one that commands run on, as an archive that
// ADD unpacks, and as a whole build context.

// refusedLayer wants a tar to be no layer: neither to copy from nor to run on.
// The error names the image and its layer.
func (p *place) refusedLayer(data []byte, words ...string) {
	p.t.Helper()
	p.hub.image("evil", nil, data)
	p.refused("FROM scratch\nCOPY --from=$HUB/evil / /\n", append(words, "layer sha256:", "$HUB/evil")...)
	if canRun() == nil {
		p.refused("FROM "+p.hub.base(data)+"\nRUN true\n", append(words, "layer sha256:", "$HUB/base")...)
	}
}

// refusedArchive wants a tar neither to be added nor to be a context.
func (p *place) refusedArchive(data []byte, words ...string) {
	p.t.Helper()
	p.archive("evil.tar", data)
	p.refused("FROM scratch\nADD evil.tar /d/\n", append(words, "evil.tar")...)
	_, err := p.try("", p.fromTar(data))
	p.refusal(err, words...)
}

// refusedTar wants a tar to be refused at every door.
func (p *place) refusedTar(data []byte, words ...string) {
	p.t.Helper()
	p.refusedLayer(data, words...)
	p.refusedArchive(data, words...)
}

// takenLayer wants a tar to be taken as a layer, and a COPY of it and a RUN on
// it to agree: see looks at the copy, script at the files that the command sees.
func (p *place) takenLayer(data []byte, see func(*result), script string) {
	p.t.Helper()
	p.hub.image("odd", nil, data)
	see(p.accepted("FROM scratch\nCOPY --from=$HUB/odd / /\n"))
	if canRun() == nil {
		see(p.accepted("FROM " + p.hub.base(data) + "\nRUN <<'END'\nset -eux\n" + script + "\nEND\n"))
	}
}

// takenArchive wants a tar to be added, and to be a context.
func (p *place) takenArchive(data []byte, see func(*result)) {
	p.t.Helper()
	p.archive("odd.tar", data)
	see(p.accepted("FROM scratch\nADD odd.tar /\n"))
	see(p.accepted("FROM scratch\nCOPY . /\n", p.fromTar(data)))
}

// takenTar wants a tar to be taken at every door, and to be the same everywhere.
func (p *place) takenTar(data []byte, see func(*result), script string) {
	p.t.Helper()
	p.takenLayer(data, see, script)
	p.takenArchive(data, see)
}

func (p *place) archive(name string, data []byte) {
	p.t.Helper()
	must(p.t, os.WriteFile(filepath.Join(p.context, name), data, 0o644))
}

// fromTar makes a tar the build context. A plain file comes first in it, by
// which it is known for a tar. Without a Dockerfile, everything is copied.
func (p *place) fromTar(data []byte) func(*builder.Options) {
	data = append(unended(p.t, file(".first", "")), data...)
	return func(o *builder.Options) {
		if len(o.DockerfileData) == 0 {
			o.DockerfileData = []byte("FROM scratch\nCOPY . /\n")
		}
		o.Context, o.ContextData = "", bytes.NewReader(data)
	}
}
