document.querySelectorAll('#rows th').forEach((head, column) => head.addEventListener('click', () => {
  const body = document.querySelector('#rows tbody');
  const text = (row) => row.cells[column].textContent;
  const order = head.dataset.order === 'up' ? -1 : 1;
  head.dataset.order = order === 1 ? 'up' : 'down';
  const rows = [...body.rows].sort((a, b) => order * text(a).localeCompare(text(b), 'en', { numeric: true }));
  body.append(...rows);
}));
