package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"k8s.io/client-go/kubernetes"
)

// environment resolves the variables of one container. Its errors name the ConfigMap, Secret or key that is missing.
type environment struct {
	api         kubernetes.Interface
	pod         *v1.Pod
	container   *v1.Container
	pods, host  netip.Addr
	allocatable v1.ResourceList
	configMaps  map[string]map[string]string
	secrets     map[string]map[string]string
}

// variables gives the container's own variables, and those of services that it does not override.
func (e *environment) variables(ctx context.Context) (map[string]string, error) {
	e.configMaps, e.secrets = map[string]map[string]string{}, map[string]map[string]string{}
	services, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	own, err := e.envFrom(ctx)
	if err != nil {
		return nil, err
	}
	expand := expansion.MappingFuncFor(own, services)
	for i := range e.container.Env {
		v := &e.container.Env[i]
		value, ok := expansion.Expand(v.Value, expand), true
		if v.Value == "" && v.ValueFrom != nil {
			if value, ok, err = e.from(ctx, v.ValueFrom); err != nil {
				return nil, err
			}
		}
		if ok {
			own[v.Name] = value
		}
	}
	maps.Copy(services, own)
	return services, nil
}

func (e *environment) envFrom(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, src := range e.container.EnvFrom {
		var data map[string]string
		var err error
		switch {
		case src.ConfigMapRef != nil:
			data, err = e.configMap(ctx, src.ConfigMapRef.Name, src.ConfigMapRef.Optional)
		case src.SecretRef != nil:
			data, err = e.secret(ctx, src.SecretRef.Name, src.SecretRef.Optional)
		}
		if err != nil {
			return nil, err
		}
		for k, v := range data {
			out[src.Prefix+k] = v
		}
	}
	return out, nil
}

// from gives a variable's value from elsewhere; ok is false when it is optional and not there.
func (e *environment) from(ctx context.Context, src *v1.EnvVarSource) (value string, ok bool, err error) {
	switch {
	case src.FieldRef != nil:
		value, err = e.field(src.FieldRef.FieldPath)
		return value, true, err
	case src.ResourceFieldRef != nil:
		value, err = e.resource(src.ResourceFieldRef)
		return value, true, err
	case src.ConfigMapKeyRef != nil:
		r := src.ConfigMapKeyRef
		data, err := e.configMap(ctx, r.Name, r.Optional)
		return e.key(data, err, r.Key, r.Optional, "ConfigMap", r.Name)
	case src.SecretKeyRef != nil:
		r := src.SecretKeyRef
		data, err := e.secret(ctx, r.Name, r.Optional)
		return e.key(data, err, r.Key, r.Optional, "Secret", r.Name)
	}
	return "", false, nil
}

func (e *environment) key(data map[string]string, err error, key string, optional *bool, kind, name string) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, e.pod.Namespace, name)
	}
	return value, ok, nil
}

func (e *environment) field(path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return e.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return e.pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return e.host.String(), nil
	case "status.podIP", "status.podIPs":
		if e.pod.Spec.HostNetwork {
			return e.host.String(), nil
		}
		return e.pods.String(), nil
	}
	return fieldpath.ExtractFieldPathAsString(e.pod, path)
}

func (e *environment) resource(ref *v1.ResourceFieldSelector) (string, error) {
	c := e.container
	if ref.ContainerName != "" {
		i := slices.IndexFunc(e.pod.Spec.Containers, func(c v1.Container) bool { return c.Name == ref.ContainerName })
		if i < 0 {
			return "", fmt.Errorf("container %s of resourceFieldRef %s not found in the pod", ref.ContainerName, ref.Resource)
		}
		c = &e.pod.Spec.Containers[i]
	}
	c = c.DeepCopy()
	resource.MergeContainerResourceLimits(c, e.allocatable)
	return resource.ExtractContainerResourceValue(ref, c)
}

func (e *environment) configMap(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	if data, ok := e.configMaps[name]; ok {
		return data, nil
	}
	cm, err := e.api.CoreV1().ConfigMaps(e.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && optional != nil && *optional:
		return nil, nil
	case err != nil:
		return nil, err
	}
	e.configMaps[name] = cm.Data
	return cm.Data, nil
}

func (e *environment) secret(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	if data, ok := e.secrets[name]; ok {
		return data, nil
	}
	s, err := e.api.CoreV1().Secrets(e.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && optional != nil && *optional:
		return nil, nil
	case err != nil:
		return nil, err
	}
	data := make(map[string]string, len(s.Data))
	for k, v := range s.Data {
		data[k] = string(v)
	}
	e.secrets[name] = data
	return data, nil
}

// services gives the variables of the API's own service, which every in-cluster client reads, and of the namespace's
// services where the pod wants them.
func (e *environment) services(ctx context.Context) (map[string]string, error) {
	var all []*v1.Service
	if links := e.pod.Spec.EnableServiceLinks; links == nil || *links {
		list, err := e.api.CoreV1().Services(e.pod.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list services of namespace %s: %w", e.pod.Namespace, err)
		}
		for i := range list.Items {
			if s := &list.Items[i]; s.Spec.ClusterIP != "" && s.Spec.ClusterIP != v1.ClusterIPNone && len(s.Spec.Ports) > 0 && !isAPI(s) {
				all = append(all, s)
			}
		}
	}
	master, err := e.api.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	switch {
	case err == nil && len(master.Spec.Ports) > 0:
		all = append(all, master)
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("service of the API: %w", err)
	}
	out := map[string]string{}
	for _, v := range envvars.FromServices(all) {
		out[v.Name] = v.Value
	}
	return out, nil
}

func isAPI(s *v1.Service) bool {
	return s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
}

// sorted gives variables as the engine wants them, in an order that does not change.
func sorted(vars map[string]string) []string {
	out := make([]string, 0, len(vars))
	for k, v := range vars {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}
