package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Metric asks a running Varve for one of its metrics.
func (s *Server) Metric(ctx context.Context, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addrs.HTTP+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("asking for the metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking for the metrics: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	_, rest, found := bytes.Cut(text, []byte("\n"+name+" "))
	if !found {
		return 0, fmt.Errorf("there is no metric %s: %s", name, resp.Status)
	}
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	v, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return 0, fmt.Errorf("metric %s: %w", name, err)
	}
	return v, nil
}
