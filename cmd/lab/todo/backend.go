package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// todo is one thing to do.
type todo struct {
	ID    int64  `json:"id"`
	Title string `json:"title"`
	Done  bool   `json:"done"`
}

const (
	maxTitle = 200 // bytes
	allTodos = "todos"
	nextTodo = "todos:next"
)

// backend keeps the list in one Redis hash: number to JSON.
type backend struct {
	*http.ServeMux
	s   settings
	db  *redis
	log *slog.Logger
}

func newBackend(s settings, log *slog.Logger) *backend {
	b := &backend{ServeMux: http.NewServeMux(), s: s, db: newRedis(s.redis, s.secret), log: log}
	b.HandleFunc("GET /api/todos", b.answer(b.list))
	b.HandleFunc("POST /api/todos", b.answer(b.add))
	b.HandleFunc("POST /api/todos/{id}/done", b.answer(b.done))
	b.HandleFunc("DELETE /api/todos/{id}", b.answer(b.remove))
	b.HandleFunc("GET /api/info", b.answer(b.info))
	return b
}

func (b *backend) ready(ctx context.Context) error {
	_, err := b.db.do(ctx, "PING")
	return err
}

// wrong is the caller's fault, with the status that says so.
type wrong struct {
	status int
	text   string
}

func (w wrong) Error() string { return w.text }

func (b *backend) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		status := http.StatusOK
		if err != nil {
			status = http.StatusServiceUnavailable
			if fault, ok := err.(wrong); ok {
				status = fault.status
			} else {
				b.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			}
			v = map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // the client may be gone
	}
}

func (b *backend) list(r *http.Request) (any, error) {
	v, err := b.db.do(r.Context(), "HVALS", allTodos)
	if err != nil {
		return nil, err
	}
	texts, _ := v.([]any)
	todos := []todo{}
	for _, text := range texts {
		var t todo
		if s, ok := text.(string); !ok || json.Unmarshal([]byte(s), &t) != nil {
			return nil, fmt.Errorf("redis holds what is no todo: %q", text)
		}
		todos = append(todos, t)
	}
	slices.SortFunc(todos, func(a, b todo) int { return cmp.Compare(a.ID, b.ID) })
	return todos, nil
}

func (b *backend) add(r *http.Request) (any, error) {
	var t todo
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4096)).Decode(&t); err != nil {
		return nil, wrong{http.StatusBadRequest, "body: " + err.Error()}
	}
	t.Title = strings.TrimSpace(t.Title)
	if t.Title == "" || len(t.Title) > maxTitle {
		return nil, wrong{http.StatusBadRequest, fmt.Sprintf("title: want 1 to %d bytes", maxTitle)}
	}
	v, err := b.db.do(r.Context(), "INCR", nextTodo)
	if err != nil {
		return nil, err
	}
	t.ID, t.Done = v.(int64), false
	return t, b.put(r.Context(), t)
}

func (b *backend) put(ctx context.Context, t todo) error {
	text, err := json.Marshal(t)
	if err == nil {
		_, err = b.db.do(ctx, "HSET", allTodos, strconv.FormatInt(t.ID, 10), string(text))
	}
	return err
}

func (b *backend) done(r *http.Request) (any, error) {
	v, err := b.db.do(r.Context(), "HGET", allTodos, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	text, ok := v.(string)
	if !ok {
		return nil, wrong{http.StatusNotFound, "there is no todo " + r.PathValue("id")}
	}
	var t todo
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, err
	}
	t.Done = true
	return t, b.put(r.Context(), t)
}

func (b *backend) remove(r *http.Request) (any, error) {
	n, err := b.db.do(r.Context(), "HDEL", allTodos, r.PathValue("id"))
	if err == nil && n == int64(0) {
		err = wrong{http.StatusNotFound, "there is no todo " + r.PathValue("id")}
	}
	return map[string]any{"deleted": n}, err
}

// info tells what this replica was given, never the secret itself.
func (b *backend) info(*http.Request) (any, error) {
	greeting, err := b.s.welcome()
	if err != nil {
		return nil, err
	}
	secret, err := b.s.secret()
	return map[string]any{
		"greeting": greeting, "version": b.s.version, "host": b.s.host,
		"secret": secret != "", "secretsAgree": secret == b.s.password,
	}, err
}
