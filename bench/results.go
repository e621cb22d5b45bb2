package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is one measured number.
type figure struct {
	Case   string  `json:"case"`
	Server string  `json:"server"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
}

// results collects figures in the order in which they were measured.
type results struct {
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Command string   `json:"command"`
	Figures []figure `json:"figures"`
}

func newResults() *results {
	return &results{
		Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Machine: machine(),
		Command: "bench/run.sh " + strings.Join(userArgs(os.Args[1:]), " "),
	}
}

// userArgs leaves out what bench/run.sh adds itself.
func userArgs(args []string) []string {
	if i := slices.Index(args, "-json"); i >= 0 && i+2 <= len(args) {
		return args[i+2:]
	}
	return args
}

func machine() string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name\t: "); ok {
				cpu = strings.TrimSpace(name)
				break
			}
		}
	}
	mem := ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kb); err == nil {
			mem = fmt.Sprintf(", %d GiB", (kb+1<<19)>>20)
		}
	}
	kernel := ""
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = ", Linux " + strings.TrimSpace(string(b))
	}
	java := ""
	if b, err := exec.Command("java", "-version").CombinedOutput(); err == nil {
		java = ", " + strings.SplitN(string(b), "\n", 2)[0]
	}
	return fmt.Sprintf("%d × %s%s%s, %s%s", runtime.NumCPU(), cpu, mem, kernel, runtime.Version(), java)
}

func (r *results) set(name, server, metric string, v float64) {
	r.Figures = append(r.Figures, figure{name, server, metric, v})
	fmt.Printf("%-7s %-36s %-18s %12s\n", server, name, metric, human(v))
}

func (r *results) get(name, server, metric string) (float64, bool) {
	for _, f := range slices.Backward(r.Figures) {
		if f.Case == name && f.Server == server && f.Metric == metric {
			return f.Value, true
		}
	}
	return 0, false
}

func human(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *results) writeJSON(name string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("making the results' folder: %w", err)
	}
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// fileName makes a name of a case usable as a file's.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ,/×", r) {
			return '-'
		}
		return r
	}, s)
}
