package threats

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// nowhere wants values to be in no file below dir: as they are, in base64 or in
// hex, also within what gzip packed.
func (p *place) nowhere(dir string, values ...string) {
	p.t.Helper()
	var forms []string
	for _, v := range values {
		forms = append(forms, v, hex.EncodeToString([]byte(v)))
		for cut := range 3 { // base64 depends on where it begins
			if len(v) > cut+3 {
				whole := v[cut:]
				forms = append(forms, base64.RawStdEncoding.EncodeToString([]byte(whole[:len(whole)/3*3])))
			}
		}
	}
	must(p.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			plain, _ := io.ReadAll(z) // what there is of it
			data = append(data, plain...)
		}
		for _, f := range forms {
			if strings.Contains(string(data), f) {
				p.t.Errorf("%s holds %q", path, f)
			}
		}
		return nil
	}))
}
