package tlsport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// ServeHTTP runs an HTTP server on a listener until ctx ends, once. It closes
// the listener. Requests that are on their way then have the time of within to
// end.
func ServeHTTP(ctx context.Context, srv *http.Server, ln net.Listener, within time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(lingering{ln}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
