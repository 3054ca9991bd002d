package figures

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const creators = 16 // requests under way

// createWhile creates objects through the host at a rate until act is over, and returns the names of those that were acknowledged.
func (l *Lab) createWhile(ctx context.Context, run *KillRun, rate float64, act func(created func() int) error) ([]string, error) {
	client, err := l.client(ctx, run.Host)
	if err != nil {
		return nil, err
	}
	var (
		mu      sync.Mutex // guards names and refused
		names   []string
		refused int
		work    sync.WaitGroup
		slots   = make(chan struct{}, creators)
	)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	create := func(i int) {
		name := fmt.Sprintf("object-%06d", i)
		err := createObject(client, name)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refused++
			return
		}
		names = append(names, name)
	}
	work.Go(func() {
		tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case slots <- struct{}{}:
				work.Go(func() { create(i); <-slots })
			default: // nobody answers; the next tick tries again
			}
		}
	})
	err = act(func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(names)
	})
	stop()
	work.Wait()
	run.Acknowledged, run.Refused = len(names), refused
	return names, err
}

// createObject does not end with the run: an answer that nobody waits for is still an acknowledgement.
func createObject(client kubernetes.Interface, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"name": name}}
	_, err := client.CoreV1().ConfigMaps(killNamespace).Create(ctx, m, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // the client asked again after a connection broke: the first answer was lost, this one says that it is there
	}
	return err
}
