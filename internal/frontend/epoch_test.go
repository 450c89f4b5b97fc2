package frontend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/graph"
)

func TestEpoch(t *testing.T) {
	committed := time.Unix(1500000000, 0)
	const plain = "FROM base\nARG SOURCE_DATE_EPOCH\nRUN x\n"
	for name, tc := range map[string]struct {
		dockerfile, value string
		change            func(*Options)
		want              int64 // 0: none
		fails             string
	}{
		"number":             {plain, "1600000000", nil, 1600000000, ""},
		"none":               {plain, "", nil, 0, ""},
		"before 1970":        {plain, "-5", nil, -5, ""},
		"no number":          {plain, "yesterday", nil, 0, "invalid SOURCE_DATE_EPOCH: yesterday"},
		"in the Dockerfile":  {"ARG SOURCE_DATE_EPOCH=7\n" + plain, "", nil, 7, ""},
		"given beats it":     {"ARG SOURCE_DATE_EPOCH=7\n" + plain, "8", nil, 8, ""},
		"a local context":    {plain, "context", nil, 0, ""},
		"a named context":    {plain, "src", func(o *Options) { o.Contexts = map[string]string{"src": "https://example.com/r.git"} }, 1500000000, ""},
		"a stage of git":     {"FROM scratch AS src\nADD https://example.com/r.git /\n" + plain, "src", nil, 1500000000, ""},
		"a stage of the web": {"FROM scratch AS src\nADD https://example.com/file /\n" + plain, "src", nil, 1500000000, ""},
		"a stage that works": {"FROM scratch AS src\nCOPY a /\n" + plain, "src", nil, 0, "unsupported COPY instruction"},
		"an error":           {"FROM scratch AS src\nADD https://example.com/down.git /\n" + plain, "src", nil, 0, "it is down"},
	} {
		t.Run(name, func(t *testing.T) {
			res, _, err := convert(t, tc.dockerfile, func(o *Options) {
				if tc.value != "" {
					o.Args = map[string]string{"SOURCE_DATE_EPOCH": tc.value}
				}
				o.Modified = func(_ context.Context, op graph.Op) (time.Time, error) {
					if g, ok := op.(*graph.Git); ok && strings.Contains(g.Remote, "down") {
						return time.Time{}, errors.New("it is down")
					}
					return committed, nil
				}
				if tc.change != nil {
					tc.change(o)
				}
			})
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("error %v, want %s", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got int64
			if res.Epoch != nil {
				got = res.Epoch.Unix()
			}
			if got != tc.want {
				t.Errorf("epoch %d, want %d", got, tc.want)
			}
		})
	}
}
