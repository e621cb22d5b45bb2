package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"varve/internal/objstore"
)

// answer is a store that says the same to everything.
func answer(status int, body string) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			fmt.Fprint(w, `<?xml version="1.0"?>`+body)
		})
	}
}

func failure(code string) string {
	return "<Error><Code>" + code + "</Code><Message>no</Message></Error>"
}

// TestWhetherABucketLocks: what says that there is no object lock is no error,
// and what says nothing of it is one.
func TestWhetherABucketLocks(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		on     bool
		err    error
	}{
		"on":             {200, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`, true, nil},
		"off":            {404, failure("ObjectLockConfigurationNotFoundError"), false, nil},
		"not known":      {501, failure("NotImplemented"), false, nil},
		"lists instead":  {200, `<ListBucketResult><Name>archive</Name></ListBucketResult>`, false, nil},
		"may not ask":    {403, failure("AccessDenied"), false, objstore.ErrDenied},
		"bucket is gone": {404, failure("NoSuchBucket"), false, objstore.ErrNoBucket},
	} {
		on, err := open(t, server(t, answer(c.status, c.body))).Locks(t.Context())
		if on != c.on || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, on, err)
		}
		if c.err == objstore.ErrDenied && !strings.Contains(err.Error(), "s3:GetBucketObjectLockConfiguration") {
			t.Errorf("%s: %v doesn't say what is missing", name, err)
		}
	}
	if on, err := open(t, server(t, nil)).Locks(t.Context()); on || err != nil {
		t.Errorf("a store that knows no object lock: %v, %v", on, err)
	}
}

// TestLockErrorsSayWhatIsMissing: the permission, or the object itself, which a
// delete marker may hide.
func TestLockErrorsSayWhatIsMissing(t *testing.T) {
	denied := open(t, server(t, answer(403, failure("AccessDenied"))))
	if err := denied.SetLock(t.Context(), "x", true); !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), "lock x") || !strings.Contains(err.Error(), "s3:PutObjectLegalHold") {
		t.Errorf("lock: %v", err)
	}
	if _, err := denied.Locked(t.Context(), "x"); !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), "s3:GetObjectLegalHold") {
		t.Errorf("locked: %v", err)
	}
	marker := open(t, server(t, answer(405, failure("MethodNotAllowed"))))
	if err := marker.SetLock(t.Context(), "x", false); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("unlock what is deleted: %v", err)
	}
	never := open(t, server(t, answer(404, failure("NoSuchObjectLockConfiguration"))))
	if on, err := never.Locked(t.Context(), "x"); on || err != nil {
		t.Errorf("never locked: %v, %v", on, err)
	}
}

// TestDeniedSaysWhichRight: what may not be done is named as the store's policies
// name it; wrong credentials are not a matter of rights.
func TestDeniedSaysWhichRight(t *testing.T) {
	denied := open(t, server(t, answer(403, failure("AccessDenied"))))
	_, get := denied.Get(t.Context(), "x")
	_, head := denied.Head(t.Context(), "x")
	var list error
	for _, err := range denied.List(t.Context(), "x") {
		list = err
	}
	for right, err := range map[string]error{
		"s3:GetObject": get, "head x": head, "s3:ListBucket": list, "s3:DeleteObject": denied.Delete(t.Context(), "x"),
		"s3:PutObject": denied.Put(t.Context(), "x", strings.NewReader("x"), 1, objstore.IfAbsent),
	} {
		if !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), right) || !strings.Contains(err.Error(), "it needs s3:") {
			t.Errorf("%s: %v", right, err)
		}
	}
	wrong := open(t, server(t, answer(403, failure("SignatureDoesNotMatch"))))
	if err := wrong.Delete(t.Context(), "x"); !errors.Is(err, objstore.ErrDenied) || strings.Contains(err.Error(), "it needs") {
		t.Errorf("a wrong secret: %v", err)
	}
}
