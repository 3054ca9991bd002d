package clients

// readScenes ask, in every form that kubectl knows, about pods of another host.
func readScenes() []scene {
	return []scene{
		{"get wide", func(a *actor) {
			a.ok("kubectl get pods -o wide", `^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$`,
				`^talker +2/2 +Running +0 +\S+ +10\.(3[2-9]|4[0-7])\.\d+\.\d+ +`+a.far+` `)
			a.ok("kubectl get nodes -o wide", `^c1 +Ready +\S+ +\S+ +\S+ +10\.236\.0\.11 .*docker://`, `^c3 +Ready`)
			a.ok("kubectl get services -o wide", `^talker +ClusterIP +10\.96\.\d+\.\d+ +<none> +80/TCP +\S+ +app=talker$`)
			a.ok("kubectl get pods,services", `^pod/talker `, `^service/talker `)
			a.ok("kubectl get all -A", `default +service/kubernetes +ClusterIP +10\.96\.0\.1 `, a.namespace()+` +pod/talker `)
		}},
		{"get yaml and json", func(a *actor) {
			a.ok("kubectl get pod talker -o yaml", `^kind: Pod$`, `^  nodeName: `+a.far+`$`, `^  phase: Running$`, `!managedFields`, `hostIP: 10\.236\.0\.`)
			a.ok("kubectl get pod talker -o yaml --show-managed-fields", `manager: kubectl-client-side-apply$`, `subresource: status$`)
			a.ok("kubectl get pod talker -o json", `"kind": "Pod"`, `"nodeName": "`+a.far+`"`)
			a.ok("kubectl get --raw /api/v1/namespaces/$NS/pods/talker", `"kind":"Pod"`)
			a.ok("kubectl get --raw /healthz", `^ok$`)
			a.ok("kubectl get --raw /readyz", `^ok$`)
		}},
		{"get jsonpath, columns, templates and names", func(a *actor) {
			a.ok(`kubectl get pod talker -o jsonpath='{.spec.nodeName} {.status.containerStatuses[*].ready}{"\n"}'`, `^`+a.far+` true true$`)
			a.ok("kubectl get pods -l app=talker -o custom-columns=POD:.metadata.name,HOST:.spec.nodeName", `^POD +HOST$`, `^talker +`+a.far+`$`)
			a.ok(`kubectl get pods -l app=talker -o go-template='{{range .items}}{{.metadata.name}};{{end}}'`, `^talker;$`)
			a.ok("kubectl get pods -o name --field-selector spec.nodeName=$FAR,status.phase=Running", `^pod/talker$`)
			a.ok("kubectl get pods -o name --field-selector spec.nodeName=$AT", `!talker`)
			a.ok("kubectl get pods -l 'app in (talker,nobody)' --show-labels", `talker .* app=talker$`, `!dier`)
			a.ok("kubectl get pods -L app --sort-by=.metadata.name", `(?s)^NAME.*APP\n.*dier .*talker `)
			a.ok("kubectl get pod talker --no-headers", `^talker`, `!NAME`)
		}},
		{"get what is not there", func(a *actor) {
			a.code(1, "kubectl get pod nobody", `^Error from server \(NotFound\): pods "nobody" not found$`)
			a.ok("kubectl get pod nobody --ignore-not-found", `\A\z`)
			a.code(1, "kubectl get unicorns", `the server doesn't have a resource type "unicorns"`)
			a.ok("kubectl get pods -n nowhere", `^No resources found in nowhere namespace\.$`)
			a.code(1, "kubectl get pods --field-selector spec.color=red", `field label not supported: spec.color`)
		}},
		{"get in pages", func(a *actor) {
			a.ok("for i in 1 2 3 4 5 6 7; do kubectl create configmap page-$i --from-literal=n=$i & done; wait", `(?s)(page-\d created.*){7}`)
			a.ok("kubectl label configmap page-1 page-2 page-3 page-4 page-5 page-6 page-7 paged=yes")
			a.ok("kubectl get configmaps -l paged=yes --chunk-size=2 -o name", `(?s)page-1.*page-2.*page-3.*page-4.*page-5.*page-6.*page-7`)
			a.ok("kubectl get --raw '/api/v1/namespaces/'$NS'/configmaps?labelSelector=paged%3Dyes&limit=3'", `"continue":"[^"]+"`, `page-3`, `!page-4`)
		}},
		{"describe", func(a *actor) {
			a.ok("kubectl describe pod talker", `^Node: +`+a.far+`/10\.236\.0\.`, `^Status: +Running$`, `^  Ready +True`, `Image: +busybox:1`,
				`Scheduled .*`+a.far, `Started `, `Host Port: +0/TCP`)
			a.soon("kubectl describe pod dier", `Last State: +Terminated`, `Exit Code: +3`, `BackOff .*restarting failed container`)
			a.soon("kubectl describe service talker", `^Type: +ClusterIP$`, `^Endpoints: +10\.\d+\.\d+\.\d+:8080$`)
			a.ok("kubectl describe node $FAR", `^  Ready +True`, `topology.kubernetes.io/region=region-\d$`, `topology.kubernetes.io/zone=`, `^Non-terminated Pods:`, a.namespace()+` +talker +10m `, `^Allocated resources:`, `Container Runtime Version: +docker://`,
				`kubernetes.io/hostname=`+a.far)
			a.ok("kubectl describe namespace $NS", `^Status: +Active$`)
		}},
		{"describe a deployment", func(a *actor) {
			a.ok("kubectl create deployment described --image=busybox:1 --replicas=2 -- sleep 100000", `deployment.apps/described created`)
			a.ok("kubectl rollout status deployment/described --timeout=60s", `successfully rolled out`)
			a.soon("kubectl describe deployment described", `^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable$`,
				`^NewReplicaSet: +described-\S+ \(2/2 replicas created\)$`, `ScalingReplicaSet .*[Ss]caled up replica set described-\S+ from 0 to 2`)
			a.ok("kubectl describe replicaset -l app=described", `Controlled By: +Deployment/described`, `SuccessfulCreate`)
			a.ok("kubectl delete deployment described --wait=false")
		}},
		{"events", func(a *actor) {
			a.soon("kubectl events --for pod/talker", `Normal +Scheduled +Pod/talker`, `Normal +Started +Pod/talker`)
			a.soon("kubectl get events --field-selector involvedObject.name=dier,type=Warning", `BackOff +pod/dier`)
		}},
		{"explain", func(a *actor) {
			a.ok("kubectl explain deployment.spec.strategy", `^KIND: +Deployment$`, `rollingUpdate`, `DESCRIPTION:`)
			a.ok("kubectl explain pod.spec.containers --recursive", `readinessProbe`, `terminationGracePeriodSeconds`)
			a.code(1, "kubectl explain pod.spec.nonsense", `field "nonsense" does not exist`)
			a.ok("kubectl explain cronjob --api-version=batch/v1", `VERSION: +v1`)
		}},
		{"what the server has", func(a *actor) {
			a.ok("kubectl api-resources", `^deployments +deploy +apps/v1 +true +Deployment$`, `^nodes +no +v1 +false +Node$`, `^ingresses +ing +networking.k8s.io/v1 +true +Ingress$`)
			a.ok("kubectl api-resources --namespaced=false --verbs=list -o name", `^persistentvolumes$`, `!^pods$`)
			a.ok("kubectl api-versions", `^v1$`, `^apps/v1$`, `^batch/v1$`, `^networking.k8s.io/v1$`, `^discovery.k8s.io/v1$`, `^policy/v1$`, `^autoscaling/v2$`, `^rbac.authorization.k8s.io/v1$`,
				`^storage.k8s.io/v1$`, `^coordination.k8s.io/v1$`, `^authentication.k8s.io/v1$`, `^authorization.k8s.io/v1$`, `^scheduling.k8s.io/v1$`, `^events.k8s.io/v1$`)
			a.ok("kubectl version", `^Client Version: v1\.3`, `^Server Version: v1\.36\.3`)
			a.ok("kubectl cluster-info", `Kubernetes control plane.* is running at .*https://`+a.addr+`:6443`)
		}},
	}
}

const gated = `
apiVersion: v1
kind: Pod
metadata: {name: gated, labels: {app: watched}}
spec:
  schedulingGates: [{name: example.test/hold}]
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1", command: [sleep, "100000"]}]
`

// watchScenes follow changes that are made elsewhere.
func watchScenes() []scene {
	return []scene{
		{"get -w sees a pod's whole life", func(a *actor) {
			a.apply("gated", gated)
			w := a.start("kubectl get pods -l app=watched --watch --output-watch-events")
			w.expect(`^ADDED +gated +0/1 +SchedulingGated`) // now it watches
			a.ok("kubectl run watched --image=busybox:1 --labels=app=watched --overrides='{\"spec\":{\"terminationGracePeriodSeconds\":1,\"nodeSelector\":{\"kubernetes.io/hostname\":\"'$FAR'\"}}}' -- sleep 100000", `pod/watched created`)
			w.expect(`^ADDED +watched +0/1 +Pending`)
			w.expect(`^MODIFIED +watched +1/1 +Running`)
			a.ok("kubectl delete pod watched", `pod "watched" deleted`)
			w.expect(`^MODIFIED +watched +[01]/1 +Terminating`)
			w.expect(`^DELETED +watched`)
			a.ok(`kubectl patch pod gated -p '{"spec":{"schedulingGates":[]}}' --type=merge`, `patched`)
			w.expect(`^MODIFIED +gated +1/1 +Running`)
			a.ok("kubectl delete pod gated --wait=false")
		}},
		{"get -w of one object through another host", func(a *actor) {
			a.ok("kubectl create configmap followed --from-literal=v=0")
			w := a.start("kubectl get configmap followed --watch -o jsonpath='{.data.v}{\"\\n\"}'")
			w.expect(`^0$`)
			for _, v := range []string{"1", "2", "3"} {
				_, err := a.mesh.Kubectl(a.ctx, a.far, "-n", a.namespace(), "patch", "configmap", "followed", "--type=merge", "-p", `{"data":{"v":"`+v+`"}}`)
				check(a.t, err)
			}
			w.expect(`^3$`)
		}},
		{"wait for conditions, values, creation and deletion", func(a *actor) {
			a.ok("kubectl wait --for=condition=Ready pod/talker --timeout=20s", `pod/talker condition met`)
			a.ok("kubectl wait --for=jsonpath='{.status.phase}'=Running pod/talker --timeout=20s", `condition met`)
			a.no("kubectl wait --for=condition=Ready pod/dier --for=jsonpath='{.status.phase}'=Failed --timeout=2s", `timed out waiting for the condition on pods/dier`)
			w := a.start("kubectl wait --for=create configmap/awaited --timeout=30s")
			a.ok("sleep 1; kubectl create configmap awaited")
			w.expect(`configmap/awaited condition met`)
			w.ends(0)
			w = a.start("kubectl wait --for=delete configmap/awaited --timeout=30s")
			a.ok("sleep 1; kubectl delete configmap awaited")
			w.ends(0)
		}},
	}
}
