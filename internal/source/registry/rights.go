package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// CheckPush asks whether blobs may be pushed to the repository: an upload is
// begun and given up. Only a refusal is an error; a registry that cannot be
// reached now, or does not like the question, may still take the push.
func (p *Repository) CheckPush(ctx context.Context) error {
	err := p.tryUpload(ctx)
	if errors.Is(err, ErrUnauthorized) {
		return fmt.Errorf("push to %s: %w", p.full, err)
	}
	return nil
}

func (p *Repository) tryUpload(ctx context.Context) error {
	c, err := p.registries.conn(ctx, p.home, transport.PushScope, "")
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, request{method: http.MethodPost, url: c.url("blobs/uploads/", nil)}, http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return err
	}
	resp.Body.Close()
	to, err := location(resp)
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return nil
	}
	gone, err := c.send(ctx, request{method: http.MethodDelete, url: to, leave: !sameOrigin(resp.Request.URL, to)},
		http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err == nil {
		gone.Body.Close()
	}
	return nil // the registry gives up what nobody finishes
}
