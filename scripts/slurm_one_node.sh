#!/usr/bin/env bash
# A Slurm of one node for as long as one command takes: scripts/slurm_one_node.sh COMMAND [ARGUMENT ...]
#
# Needs root and Debian's slurm-wlm and munge. Everything lives in a temporary folder and in namespaces of its own
# (processes, network, mounts), so nothing of it can be reached from outside and nothing of it is left.
set -euo pipefail

if [[ ${SLURM_ONE_NODE_INSIDE:-} != yes ]]; then
  [[ $# -gt 0 ]] || { echo "usage: ${0##*/} COMMAND [ARGUMENT ...]" >&2; exit 2; }
  [[ $(id -u) == 0 ]] || { echo "${0##*/}: Slurm's daemons want root here" >&2; exit 2; }
  for tool in munged slurmctld slurmd unshare ip; do
    command -v "$tool" >/dev/null || { echo "${0##*/}: no $tool; apt install slurm-wlm munge iproute2" >&2; exit 2; }
  done
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  SLURM_ONE_NODE_INSIDE=yes SLURM_ONE_NODE_FOLDER=$folder \
    unshare --pid --fork --kill-child --mount-proc --net --uts "$0" "$@"
  exit
fi

folder=$SLURM_ONE_NODE_FOLDER
ip link set lo up
ip address add 192.0.2.1/32 dev lo # where there are loopback addresses only, Slurm finds none to listen on
hostname localhost
chmod 755 "$folder"
mkdir -p "$folder"/{munge,state,spool,log}
chmod 711 "$folder/munge"
(umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")

export SLURM_CONF="$folder/slurm.conf"
cat >"$SLURM_CONF" <<CONF
ClusterName=onenode
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=30
MinJobAge=300
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
SwitchType=switch/none
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc --all) RealMemory=1024 State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES PriorityTier=1 GraceTime=60 MaxTime=INFINITE State=UP
PartitionName=high Nodes=localhost PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF

munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
  --log-file="$folder/log/munged" --seed-file="$folder/munge/seed"
slurmctld -D >"$folder/log/slurmctld.out" 2>&1 &
slurmd -D >"$folder/log/slurmd.out" 2>&1 &

while ((SECONDS < 60)); do
  [[ $(sinfo --noheader --format=%t --partition=low 2>/dev/null) == idle ]] && break
  sleep 0.5
done
if [[ $(sinfo --noheader --format=%t --partition=low) != idle ]]; then
  echo "the node did not come up" >&2
  tail -n 20 "$folder"/log/* >&2
  exit 1
fi
"$@"
