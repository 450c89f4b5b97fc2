package wait

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// heard collects what is said.
func heard(ctx context.Context) (context.Context, *[]string) {
	var list []string
	return With(ctx, func(s string) { list = append(list, s) }), &list
}

func TestE1RetriesAreBoundedAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, said := heard(t.Context())
		cause := errors.New("registry reg.example: connection refused")
		began := time.Now()
		tries := Policy{}.Begin()
		var err error
		for err == nil {
			err = tries.Failed(ctx, cause, 0)
		}
		if took := time.Since(began); took < 15*time.Second || took > 50*time.Second {
			t.Errorf("it took %s, want about half a minute", took)
		}
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "given up after 9 tries in ") {
			t.Errorf("got %v", err)
		}
		if len(*said) != DefaultRetries || !strings.Contains((*said)[0], "reg.example: connection refused; next try in ") {
			t.Errorf("said %q", *said)
		}
	})
}

func TestE1RetriesAreChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for retries, want := range map[int]int{-1: 1, 3: 4} {
			tries, n := (Policy{Retries: retries, Delay: time.Minute}).Begin(), 1
			for tries.Failed(t.Context(), errors.New("no"), 0) == nil {
				n++
			}
			if n != want {
				t.Errorf("%d retries: %d tries, want %d", retries, n, want)
			}
		}
	})
}

func TestE2ALongRetryAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, said := heard(t.Context())
		began := time.Now()
		tries := Policy{}.Begin()
		for tries.Failed(ctx, errors.New("registry r answers 503"), time.Hour) == nil {
		}
		if took := time.Since(began); took > Budget {
			t.Errorf("it took %s", took)
		}
		if len(*said) == 0 || !strings.Contains((*said)[0], "it asks to wait 1h0m0s; next try in 30s") {
			t.Errorf("said %q", *said)
		}
	})
}

func TestE2SilenceIsSaidAndEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, said := heard(t.Context())
		ctx, w := Start(ctx, "the answer of r", time.Minute)
		defer w.Stop()
		time.Sleep(4 * time.Second)
		w.Wait("more of the blob from r") // something came
		<-ctx.Done()
		if want := 4; len(*said) != want || (*said)[0] != "waiting for more of the blob from r: 5s" {
			t.Errorf("said %q, want %d", *said, want)
		}
		err := w.Cause(ctx.Err())
		if err.Error() != "more of the blob from r did not come for 1m0s" {
			t.Errorf("got %v", err)
		}
	})
}

func TestE2APauseIsNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, said := heard(t.Context())
		ctx, w := Start(ctx, "x", time.Minute)
		defer w.Stop()
		w.Pause()
		time.Sleep(time.Hour)
		if ctx.Err() != nil || len(*said) > 0 {
			t.Errorf("got %v, %q", ctx.Err(), *said)
		}
	})
}
