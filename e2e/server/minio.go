package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Addresses and keys of the MinIO server that the interop run starts.
const (
	MinioAddr   = "127.0.0.1:9000"
	minioUI     = "127.0.0.1:9001"
	MinioKey    = "interop-access"
	MinioSecret = "interop-secret"
)

// Minio is a running MinIO server.
type Minio struct{ p *process }

// StartMinio starts a MinIO server over a folder.
func StartMinio(ctx context.Context, binary, dir string) (*Minio, error) {
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, fmt.Errorf("making MinIO's folder: %w", err)
	}
	cmd := exec.Command(binary, "server", "--quiet", "--address", MinioAddr, "--console-address", minioUI, data)
	cmd.Env = append(os.Environ(), "HOME="+dir, "MINIO_ROOT_USER="+MinioKey, "MINIO_ROOT_PASSWORD="+MinioSecret, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	p, err := spawn("minio", filepath.Join(dir, "minio.log"), nil, cmd)
	if err != nil {
		return nil, err
	}
	return &Minio{p}, p.waitPort(ctx, MinioAddr)
}

// Stop ends it.
func (m *Minio) Stop() error { return m.p.stop() }
