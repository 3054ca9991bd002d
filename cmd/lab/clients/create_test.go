package clients

// createScenes make one of each.
func createScenes() []scene {
	return []scene{
		{"create configmaps and secrets, and pods that use them", func(a *actor) {
			a.ok("printf 'from a file' >f.txt && kubectl create configmap made --from-literal=a=1 --from-file=f.txt", `configmap/made created`)
			a.ok("kubectl get configmap made -o jsonpath='{.data}'", `"a":"1"`, `"f.txt":"from a file"`)
			a.code(1, "kubectl create configmap made", `configmaps "made" already exists`)
			a.ok("kubectl create secret generic hidden --from-literal=password=opensesame", `secret/hidden created`)
			a.ok("kubectl describe secret hidden", `password: +10 bytes`, `!opensesame`)
			a.ok("kubectl get secret hidden -o jsonpath='{.data.password}' | base64 -d", `\Aopensesame\z`)
			a.ok("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout k -out c 2>/dev/null && kubectl create secret tls pair --cert=c --key=k", `secret/pair created`)
			a.ok("kubectl create secret docker-registry pull --docker-server=r.example --docker-username=u --docker-password=p", `secret/pull created`)
			a.apply("p", usesSettings)
			a.ok("kubectl wait --for=condition=Ready pod/uses --timeout=40s")
			a.ok("kubectl exec uses -- sh -c 'echo $A $PASSWORD; cat /etc/made/f.txt; cat /etc/hidden/password; stat -f -c %T /etc/hidden'", `\A1 opensesame\nfrom a fileopensesametmpfs\n\z`)
			a.ok(`kubectl patch configmap made -p '{"data":{"f.txt":"changed"}}'`)
			a.soon("kubectl exec uses -- cat /etc/made/f.txt", `\Achanged\z`)
			a.ok("kubectl delete pod uses --wait=false")
		}},
		{"create jobs and cron jobs", func(a *actor) {
			a.ok("kubectl create job sum --image=busybox:1 -- sh -c 'echo $((40+2))'", `job.batch/sum created`)
			a.ok("kubectl wait --for=condition=complete job/sum --timeout=45s", `job.batch/sum condition met`)
			a.ok("kubectl logs job/sum", `\A42\n\z`)
			a.ok("kubectl get job sum", `^sum +Complete +1/1 `)
			a.ok("kubectl create cronjob tick --image=busybox:1 --schedule='0 0 1 1 *' -- echo ticked", `cronjob.batch/tick created`)
			a.ok("kubectl create job tick-now --from=cronjob/tick", `job.batch/tick-now created`)
			a.ok("kubectl wait --for=condition=complete job/tick-now --timeout=45s && kubectl logs job/tick-now", `^ticked$`)
			a.no("kubectl create cronjob bad --image=busybox:1 --schedule='every day' -- true", `spec.schedule: Invalid value: "every day"`)
			a.ok("kubectl create job fails --image=busybox:1 -- false && kubectl patch job fails --type=merge -p '{\"spec\":{\"backoffLimit\":0}}'", `job.batch/fails patched`)
			a.ok("kubectl wait --for=condition=failed job/fails --timeout=45s", `condition met`)
			a.ok("kubectl delete job sum fails tick-now --wait=false && kubectl delete cronjob tick", `cronjob.batch "tick" deleted`)
		}},
		{"create the rest", func(a *actor) {
			a.ok("kubectl create namespace $NS-extra", `created`)
			a.ok("kubectl create service clusterip plain --tcp=80:8080", `service/plain created`)
			a.ok("kubectl create service nodeport port --tcp=80:8080", `service/port created`)
			a.ok("kubectl create service externalname away --external-name=example.test", `service/away created`)
			a.ok("kubectl create ingress way --rule=way.example.test/*=plain:80", `ingress.networking.k8s.io/way created`)
			a.ok("kubectl describe ingress way", `way.example.test`, `plain:80`)
			a.ok("kubectl create poddisruptionbudget keep --selector=app=talker --min-available=0", `poddisruptionbudget.policy/keep created`)
			a.ok("kubectl create quota wide --hard=pods=1000 -n $NS-extra", `resourcequota/wide created`)
			a.ok("kubectl create priorityclass class-$NS --value=1000", `created`)
			a.ok("kubectl create clusterrole nothing-$NS --verb=get --resource=nodes && kubectl create clusterrolebinding nothing-$NS --clusterrole=nothing-$NS --user=nobody", `clusterrolebinding\S* created`)
			a.ok("kubectl create token default --duration=1h", `\A[\w-]+\.[\w-]+\.[\w-]+\n?\z`)
			a.no("kubectl create token nobody", `serviceaccounts "nobody" not found`)
			a.ok("kubectl delete namespace $NS-extra --timeout=45s", `deleted`)
			a.ok("kubectl delete clusterrole,clusterrolebinding nothing-$NS && kubectl delete priorityclass class-$NS")
		}},
	}
}

const usesSettings = `
apiVersion: v1
kind: Pod
metadata: {name: uses}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1
    command: [sleep, "100000"]
    env:
    - {name: A, valueFrom: {configMapKeyRef: {name: made, key: a}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: hidden, key: password}}}
    volumeMounts: [{name: made, mountPath: /etc/made}, {name: hidden, mountPath: /etc/hidden}]
  volumes: [{name: made, configMap: {name: made}}, {name: hidden, secret: {secretName: hidden}}]
`

// deleteScenes end things, gently or not.
func deleteScenes() []scene {
	return []scene{
		{"delete with grace", func(a *actor) {
			a.apply("p", onFar("graceful", `[sh, -c, "trap 'echo asked; sleep 2; echo done; exit 0' TERM; while true; do sleep 0.1; done"]`, "Never"))
			a.ok("kubectl wait --for=condition=Ready pod/graceful --timeout=30s")
			f := a.start("kubectl logs -f graceful")
			a.ok("kubectl delete pod graceful --grace-period=20", `pod "graceful" deleted`)
			f.expect(`^asked$`)
			f.expect(`^done$`)
			a.no("kubectl get pod graceful", `NotFound`)
		}},
		{"delete with a grace period that is too short", func(a *actor) {
			a.apply("p", onFar("stubborn", `[sh, -c, "trap '' TERM; while true; do sleep 0.1; done"]`, "Never"))
			a.ok("kubectl wait --for=condition=Ready pod/stubborn --timeout=30s")
			a.ok("kubectl delete pod stubborn --grace-period=1 --timeout=15s", `deleted`)
			a.no("kubectl get pod stubborn", `NotFound`)
		}},
		{"delete by force", func(a *actor) {
			a.apply("p", onFar("forced", `[sh, -c, "trap '' TERM; while true; do sleep 0.1; done"]`, "Never"))
			a.ok("kubectl wait --for=condition=Ready pod/forced --timeout=30s")
			a.ok("kubectl delete pod forced --force --grace-period=0 --timeout=15s", `Immediate deletion does not wait`, `force deleted`)
			a.no("kubectl get pod forced", `NotFound`)
			h, err := a.mesh.Bed.Host(a.far)
			check(a.t, err)
			a.soon("docker -H unix://"+a.mesh.Bed.Socket(h.Name)+" ps --format '{{.Names}} {{.Labels}}'", `!pod.name=forced`, `!forced`)
		}},
		{"delete cascades, or does not", func(a *actor) {
			a.apply("d", named(web, "orphaning"))
			a.ok("kubectl rollout status deployment/orphaning --timeout=60s")
			a.ok("kubectl delete deployment orphaning --cascade=orphan", `deleted`)
			a.soon("kubectl get replicasets -l app=orphaning -o jsonpath='{.items[*].metadata.ownerReferences}|{.items[*].status.readyReplicas}'", `^\|2$`)
			a.ok("kubectl get pods -l app=orphaning -o name | wc -l", `^2$`)
			a.apply("d", named(web, "orphaning"))
			a.soon("kubectl get replicasets -l app=orphaning -o jsonpath='{.items[*].metadata.ownerReferences[0].kind}'", `^Deployment$`)
			a.ok("kubectl delete deployment orphaning --cascade=foreground --timeout=45s", `deleted`)
			a.ok("kubectl get replicasets,pods -l app=orphaning", `No resources found`)
			a.apply("d", named(web, "orphaning"))
			a.ok("kubectl rollout status deployment/orphaning --timeout=60s && kubectl delete -f d.yaml", `deleted`)
			a.soon("kubectl get replicasets,pods -l app=orphaning", `No resources found`)
		}},
		{"delete by label, all of a kind, and a whole namespace", func(a *actor) {
			a.ok("for i in 1 2 3; do kubectl create configmap batch-$i && kubectl label configmap batch-$i in=batch; done")
			a.ok("kubectl delete configmaps -l in=batch", `batch-1" deleted`, `batch-3" deleted`)
			a.no("kubectl delete configmap batch-1", `NotFound`)
			a.ok("kubectl create namespace $NS-gone")
			a.soon("kubectl -n $NS-gone get serviceaccount default")
			a.file("in.yaml", named(web, "in"))
			a.ok("kubectl -n $NS-gone apply -f in.yaml && kubectl -n $NS-gone create configmap in")
			a.ok("kubectl -n $NS-gone rollout status deployment/in --timeout=45s")
			a.ok("kubectl -n $NS-gone delete configmap --all", `"in" deleted`)
			a.ok("kubectl delete namespace $NS-gone --timeout=55s", `namespace "\S+-gone" deleted`)
			a.no("kubectl get namespace $NS-gone", `NotFound`)
			a.ok("kubectl get deployments,pods -n $NS-gone", `No resources found`)
			a.no("kubectl delete namespace default", `this namespace may not be deleted`)
		}},
	}
}
