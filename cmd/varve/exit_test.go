package main

import (
	"fmt"
	"net/http"
	"testing"

	"varve/internal/admin"
)

// TestExitCode: an error at a stream's end has no status, and means the same.
func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  admin.Error
		want int
	}{
		{admin.Error{Code: admin.CodeInternal}, exitFailed},
		{admin.Error{Code: admin.CodeUnavailable}, exitFailed},
		{admin.Error{Code: admin.CodeBadRequest}, exitRefused},
		{admin.Error{Code: admin.CodeLimit}, exitRefused},
		{admin.Error{Status: http.StatusInternalServerError, Code: admin.CodeInternal}, exitFailed},
		{admin.Error{Status: http.StatusNotFound, Code: admin.CodeNotFound}, exitNotFound},
	} {
		if got := exitCode(fmt.Errorf("replay: %w", &tt.err)); got != tt.want {
			t.Errorf("%+v: %d, want %d", tt.err, got, tt.want)
		}
	}
}
