package builder

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// refusing is a sink that may not take the result.
type refusing struct {
	err   error
	asked chan struct{}
}

func (r *refusing) Check(context.Context) error {
	close(r.asked)
	return r.err
}

func (r *refusing) Layer(context.Context, *layer.Layer) error { return nil }

func (r *refusing) Write(context.Context, *Result) error { return r.err }

func TestE8ARefusalEndsTheBuildAtOnce(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(slow.Close)
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + slow.URL + "/f /f\n"})
	r := &refusing{errors.New("registry reg.example refuses access"), make(chan struct{})}
	began := time.Now()
	_, err := p.try(func(o *Options) { o.Sinks = []Sink{r} })
	<-r.asked
	if err == nil || err.Error() != r.err.Error() || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestE8ASinkThatAllowsIsNoHindrance(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	if _, err := p.try(func(o *Options) { o.Sinks = []Sink{&refusing{asked: make(chan struct{})}} }); err != nil {
		t.Error(err)
	}
}
